# `cmake --install`: binaries, the client library with its header, CMake package and pkg-config file,
# the shim, man pages, completions, systemd units, configuration, shipped data.
foreach(program reformerd reformerctl)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
# Where reformerd looks for it.
foreach(program reformer-worker reformer_worker)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/reformer)
  endif()
endforeach()
# Loaded by LD_PRELOAD, never linked.
if(TARGET reformer_cudnn_shim)
  install(TARGETS reformer_cudnn_shim LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

if(TARGET libreformer)
  set_target_properties(libreformer PROPERTIES EXPORT_NAME reformer INTERFACE_INCLUDE_DIRECTORIES
                        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/libclient>)
  install(TARGETS libreformer EXPORT reformer_targets
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(FILES libclient/reformer.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/reformer)
  install(EXPORT reformer_targets NAMESPACE reformer:: FILE reformerTargets.cmake
          DESTINATION ${_package})
  configure_package_config_file(cmake/reformerConfig.cmake.in
      ${CMAKE_BINARY_DIR}/reformerConfig.cmake INSTALL_DESTINATION ${_package})
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/reformerConfigVersion.cmake
                                   COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/reformerConfig.cmake
                ${CMAKE_BINARY_DIR}/reformerConfigVersion.cmake DESTINATION ${_package})
  # The prefix is only known when installing: `cmake --install --prefix` may change it.
  install(CODE "
    set(PROJECT_VERSION \"${PROJECT_VERSION}\")
    set(CMAKE_INSTALL_FULL_LIBDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}\")
    set(CMAKE_INSTALL_FULL_INCLUDEDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_INCLUDEDIR}\")
    configure_file(\"${PROJECT_SOURCE_DIR}/cmake/reformer.pc.in\"
                   \"${CMAKE_BINARY_DIR}/reformer.pc\" @ONLY)")
  install(FILES ${CMAKE_BINARY_DIR}/reformer.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

file(GLOB _manual CONFIGURE_DEPENDS docs/man/*.[1378])
foreach(page ${_manual})
  string(REGEX REPLACE ".*\\.([1-8])$" "\\1" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

install(FILES cli/completions/reformerctl.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME reformerctl)
install(FILES cli/completions/_reformerctl DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES cli/completions/reformerctl.fish
        DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

# systemd looks for units and users below /usr and /usr/local. What they and the configuration name
# below /usr is named below the prefix instead, which is only known when installing.
install(FILES systemd/reformerd.socket DESTINATION lib/systemd/system)
install(FILES systemd/reformerd.sysusers DESTINATION lib/sysusers.d RENAME reformerd.conf)
install(CODE "
  set(source \"${PROJECT_SOURCE_DIR}\")
  set(work \"${CMAKE_BINARY_DIR}\")
  set(program \"${CMAKE_INSTALL_BINDIR}/reformerd\")
  set(data \"${CMAKE_INSTALL_DATADIR}/reformer\")")
install(CODE [[
  set(prefix "${CMAKE_INSTALL_PREFIX}")
  set(settings "${prefix}/etc/reformerd")
  if(prefix MATCHES "^/usr(/local)?/?$")
    set(settings /etc/reformerd)  # where reformerd looks
  endif()
  foreach(file systemd/reformerd.service daemon/reformerd.toml)
    file(READ "${source}/${file}" text)
    string(REPLACE "/usr/bin/reformerd" "${prefix}/${program}" text "${text}")
    string(REPLACE "/usr/share/reformer/" "${prefix}/${data}/" text "${text}")
    string(REPLACE "/etc/reformerd/" "${settings}/" text "${text}")
    get_filename_component(name "${file}" NAME)
    file(WRITE "${work}/${name}" "${text}")
  endforeach()
  file(INSTALL "${work}/reformerd.service" DESTINATION "${prefix}/lib/systemd/system")
  if(EXISTS "$ENV{DESTDIR}${settings}/reformerd.toml")
    message(STATUS "Kept: $ENV{DESTDIR}${settings}/reformerd.toml")
  else()
    file(INSTALL "${work}/reformerd.toml" DESTINATION "${settings}")
  endif()
]])
file(GLOB _data CONFIGURE_DEPENDS data/*)
install(FILES ${_data} DESTINATION ${CMAKE_INSTALL_DATADIR}/reformer)
