# The objects of the wide instruction sets may define nothing that another object could be given:
# weak symbols (W, V, u) outside the Eigen namespace of their own are merged across the program.
string(REPLACE "," ";" objects "${OBJECTS}")
foreach(object ${objects})
  execute_process(COMMAND ${NM} -C --defined-only ${object} OUTPUT_VARIABLE symbols
                  RESULT_VARIABLE failed)
  if(failed OR symbols STREQUAL "")
    message(FATAL_ERROR "cannot read ${object}")
  endif()
  string(REPLACE ";" "," symbols "${symbols}")
  string(REPLACE "\n" ";" lines "${symbols}")
  # (The reference to the personality routine is data.)
  foreach(line ${lines})
    if(line MATCHES "^[0-9a-f]+ [WVuw] " AND NOT line MATCHES "Eigen_v[34]|DW\\.ref\\.")
      message(SEND_ERROR "${object}: ${line}")
    endif()
  endforeach()
endforeach()
