cmake_minimum_required(VERSION 3.25)

set(prefix ${WORK}/prefix)
file(REMOVE_RECURSE ${prefix} ${WORK}/cmake-client ${WORK}/pkg-client)

function(must what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${what} failed (${status}):\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

must("install" ${CMAKE_COMMAND} -E env DESTDIR= ${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
foreach(file bin/reformerctl ${LIBDIR}/libreformer.so include/reformer.h ${LIBDIR}/pkgconfig/reformer.pc
             ${LIBDIR}/cmake/reformer/reformerConfig.cmake share/man/man1/reformerctl.1
             share/man/man8/reformerd.8 share/man/man3/libreformer.3
             share/bash-completion/completions/reformerctl share/zsh/site-functions/_reformerctl
             share/fish/vendor_completions.d/reformerctl.fish share/reformer/h200-deviceprop.json
             lib/systemd/system/reformerd.socket lib/systemd/system/reformerd.service
             lib/sysusers.d/reformerd.conf etc/reformerd/reformerd.toml)
  if(NOT EXISTS ${prefix}/${file})
    message(FATAL_ERROR "not installed: ${file}")
  endif()
endforeach()

# The installed reformerctl finds its library by itself.
must("reformerctl --version" ${prefix}/bin/reformerctl --version)
if(NOT output MATCHES "${VERSION}")
  message(FATAL_ERROR "reformerctl --version says ${output}")
endif()

# Unit and configuration name what is below this prefix, and a second installation leaves the
# administrator's configuration alone.
file(READ ${prefix}/lib/systemd/system/reformerd.service service)
if(NOT service MATCHES "\nExecStart=${prefix}/bin/reformerd --config ${prefix}/etc/reformerd/reformerd.toml\n")
  message(FATAL_ERROR "reformerd.service starts something else:\n${service}")
endif()
must("reformerd --check-config" ${prefix}/bin/reformerd --check-config
     --config ${prefix}/etc/reformerd/reformerd.toml)
file(STRINGS ${prefix}/etc/reformerd/reformerd.toml model REGEX "^model = ")
string(REGEX MATCH "\"(.*)\"" _ "${model}")
if(NOT EXISTS "${CMAKE_MATCH_1}")
  message(FATAL_ERROR "the configured model is not installed: ${model}")
endif()
file(APPEND ${prefix}/etc/reformerd/reformerd.toml "log_level = \"debug\"\n")
must("installing again" ${CMAKE_COMMAND} -E env DESTDIR= ${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
file(STRINGS ${prefix}/etc/reformerd/reformerd.toml kept REGEX "^log_level = \"debug\"")
if(NOT kept)
  message(FATAL_ERROR "installing again overwrote the configuration")
endif()

must("configuring with find_package" ${CMAKE_COMMAND} -S ${SOURCE}/client -B ${WORK}/cmake-client
     -DCMAKE_PREFIX_PATH=${prefix} -DWANTED_VERSION=${VERSION} -DCMAKE_C_COMPILER=${C_COMPILER}
     -DCMAKE_C_FLAGS=${FLAGS})
must("building with find_package" ${CMAKE_COMMAND} --build ${WORK}/cmake-client)
must("running the find_package client" ${WORK}/cmake-client/client)

set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIBDIR}/pkgconfig)
must("pkg-config" pkg-config --cflags --libs reformer)
string(STRIP "${output}" flags)
separate_arguments(flags UNIX_COMMAND "${flags}")
file(MAKE_DIRECTORY ${WORK}/pkg-client)
must("building with pkg-config" ${C_COMPILER} ${FLAGS} -Wall -Wextra -Werror -pedantic
     ${SOURCE}/client/client.c -o ${WORK}/pkg-client/client ${flags} -Wl,-rpath,${prefix}/${LIBDIR})
must("running the pkg-config client" ${WORK}/pkg-client/client)
message(STATUS "installed, found and linked: ${output}")
