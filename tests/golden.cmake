# Runs COMMAND and compares what it prints with the file EXPECTED.
execute_process(COMMAND ${COMMAND} RESULT_VARIABLE result OUTPUT_VARIABLE output)
file(READ ${EXPECTED} expected)
string(REPLACE "\r\n" "\n" output "${output}") # Windows
if(NOT result EQUAL 0 OR NOT output STREQUAL expected)
  message(FATAL_ERROR "exit ${result}; the output differs from ${EXPECTED}:\n${output}")
endif()
