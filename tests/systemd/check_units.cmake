# What systemd itself says of the units; skipped, aloud, where there is no systemd-analyze that can
# judge files offline (250 or later).
cmake_minimum_required(VERSION 3.25)

# Exposure in tenths, of 100: what `systemd-analyze security` calls OK begins below 50.
set(most_exposure 20)

find_program(analyze systemd-analyze)
if(NOT analyze)
  message(STATUS "skipped: there is no systemd-analyze here")
  return()
endif()
execute_process(COMMAND ${analyze} --help OUTPUT_VARIABLE help)
if(NOT help MATCHES "--offline")
  message(STATUS "skipped: this systemd-analyze is older than 250")
  return()
endif()

function(must what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${what} (${status}):\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# As installed, with the program that was built.
set(units ${WORK}/units)
file(REMOVE_RECURSE ${units})
file(READ ${UNITS}/reformerd.service service)
string(REPLACE "/usr/bin/reformerd" "${REFORMERD}" service "${service}")
file(WRITE ${units}/reformerd.service "${service}")
file(COPY ${UNITS}/reformerd.socket DESTINATION ${units})

must("verify" ${analyze} verify --man=no ${units}/reformerd.service ${units}/reformerd.socket)
if(NOT output STREQUAL "")
  message(FATAL_ERROR "verify complains:\n${output}")
endif()
must("security: exposure above ${most_exposure} tenths"
     ${analyze} security --offline=true --threshold=${most_exposure} ${units}/reformerd.service)
string(REGEX MATCH "Overall exposure level[^\n]*" exposure "${output}")
message(STATUS "${exposure}")

find_program(sysusers systemd-sysusers)
if(sysusers)
  file(MAKE_DIRECTORY ${WORK}/root/etc)
  must("sysusers" ${sysusers} --root=${WORK}/root --dry-run ${UNITS}/reformerd.sysusers)
endif()
