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

# Units go below the prefix; with /usr that is where systemd looks. What the project ships of them:
file(GLOB _units CONFIGURE_DEPENDS systemd/*.service systemd/*.socket)
install(FILES ${_units} DESTINATION lib/systemd/system)
file(GLOB _sysusers CONFIGURE_DEPENDS systemd/*sysusers*.conf)
install(FILES ${_sysusers} DESTINATION lib/sysusers.d)
if(EXISTS ${PROJECT_SOURCE_DIR}/systemd/reformerd.toml)
  install(FILES systemd/reformerd.toml DESTINATION ${CMAKE_INSTALL_SYSCONFDIR}/reformerd)
endif()
file(GLOB _data CONFIGURE_DEPENDS data/*)
install(FILES ${_data} DESTINATION ${CMAKE_INSTALL_DATADIR}/reformer)
