# The shared LIBRARY shows the functions of EXPECTED, and HEADER declares the same. Whoever adds a function adds its name;
# one that is taken away, or changes its name, breaks programs that are built already.
execute_process(COMMAND ${NM} -D --defined-only --format=posix ${LIBRARY} RESULT_VARIABLE result OUTPUT_VARIABLE output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${NM} ${LIBRARY}: exit ${result}")
endif()
file(STRINGS ${EXPECTED} expected)

string(REGEX MATCHALL "[^\n]+" lines "${output}")
set(shown)
foreach(line IN LISTS lines)
  string(REGEX REPLACE "[ @].*" "" name "${line}")
  list(APPEND shown ${name})
endforeach()
list(SORT shown)

file(READ ${HEADER} text)
string(REGEX MATCHALL "QDQ_API [^;(]*[ *]qdq_[a-z0-9_]+\\(" declarations "${text}")
set(declared)
foreach(declaration IN LISTS declarations)
  string(REGEX REPLACE ".*[ *](qdq_[a-z0-9_]+)\\($" "\\1" name "${declaration}")
  list(APPEND declared ${name})
endforeach()
list(SORT declared)

if(NOT shown STREQUAL expected OR NOT declared STREQUAL expected)
  message(FATAL_ERROR "${EXPECTED}:\n${expected}\n${LIBRARY} shows\n${shown}\n${HEADER} declares\n${declared}")
endif()
