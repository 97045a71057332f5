# reformer_module(NAME SOURCES... PUBLIC targets... PRIVATE targets...)
# One folder, one static library `reformer_NAME`, one namespace. Includes are written from the
# repository root: "core/problem.h".
function(reformer_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(reformer_${name} STATIC ${arg_SOURCES})
  target_include_directories(reformer_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(reformer_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()

# reformer_test(MODULE SOURCES... LIBRARIES... [LABELS...] [LOADS_CUDNN])
# One Boost.Test executable `MODULE_test` for tests/MODULE; ctest runs it as MODULE. One that loads
# cuDNN is not checked for leaks: cuDNN keeps memory to its end and is unloaded before the check. Some tests fork and go on, which
# the thread sanitizer has to be told to bear.
function(reformer_test module)
  cmake_parse_arguments(arg "LOADS_CUDNN" "" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  # main() stands in one file of its own; the others must not see BOOST_TEST_MODULE.
  set(main ${CMAKE_CURRENT_BINARY_DIR}/${module}_test_main.cpp)
  file(CONFIGURE OUTPUT ${main} CONTENT "#define BOOST_TEST_MODULE ${module}\n#include <boost/test/unit_test.hpp>\n")
  set_source_files_properties(${main} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  add_executable(${module}_test ${arg_SOURCES} ${main})
  target_compile_definitions(${module}_test PRIVATE BOOST_TEST_DYN_LINK
      REFORMER_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_include_directories(${module}_test PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${module}_test PRIVATE ${arg_LIBRARIES} Boost::unit_test_framework
                                               Threads::Threads)
  if(REFORMER_CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${module}_test PRIVATE -fpch-preprocess)
  endif()
  target_precompile_headers(${module}_test PRIVATE <boost/test/unit_test.hpp>)
  add_test(NAME ${module} COMMAND ${module}_test --log_level=test_suite --report_level=short)
  set(timeout 240)
  if(REFORMER_SANITIZE MATCHES "thread")
    set(timeout 1200)
  endif()
  set_tests_properties(${module} PROPERTIES TIMEOUT ${timeout} LABELS "${arg_LABELS}")
  set(environment "TSAN_OPTIONS=die_after_fork=0:suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")
  if(arg_LOADS_CUDNN)
    list(APPEND environment "ASAN_OPTIONS=detect_leaks=0")
  endif()
  set_tests_properties(${module} PROPERTIES ENVIRONMENT "${environment}")
endfunction()
