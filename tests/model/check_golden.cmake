# golden_values.h against a fresh run of golden.py.
execute_process(COMMAND ${PYTHON} ${FOLDER}/golden.py OUTPUT_VARIABLE now RESULT_VARIABLE failed)
file(READ ${FOLDER}/golden_values.h recorded)
if(failed OR NOT now STREQUAL recorded)
  message(FATAL_ERROR "golden_values.h is not what golden.py writes")
endif()
