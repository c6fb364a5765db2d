# Other systems' compiler, linker, headers and C library in one: zig's clang (PyPI: ziglang).
#
#   QDQ_ZIG         its program; also from the environment; zig on the PATH otherwise
#   QDQ_ZIG_TARGET  x86_64-windows-gnu, aarch64-macos.13.0, x86_64-macos.13.0: the last part is the oldest macOS
#   QDQ_CROSS       the folder of jansson and PCRE2 for it, as tools/cross_libraries.sh makes it
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES QDQ_ZIG QDQ_ZIG_TARGET QDQ_CROSS)
if(NOT QDQ_ZIG)
  set(QDQ_ZIG $ENV{QDQ_ZIG})
endif()
if(NOT QDQ_ZIG)
  find_program(QDQ_ZIG zig)
endif()
if(NOT QDQ_ZIG OR NOT QDQ_ZIG_TARGET)
  message(FATAL_ERROR "cmake/zig.cmake: set QDQ_ZIG to zig's program (pip install ziglang), and QDQ_ZIG_TARGET")
endif()

if(QDQ_ZIG_TARGET MATCHES "^([^-]+)-windows")
  set(CMAKE_SYSTEM_NAME Windows)
elseif(QDQ_ZIG_TARGET MATCHES "^([^-]+)-macos")
  set(CMAKE_SYSTEM_NAME Darwin)
elseif(QDQ_ZIG_TARGET MATCHES "^([^-]+)-linux")
  set(CMAKE_SYSTEM_NAME Linux)
endif()
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})

# CMake wants a program each. zig's own habits are undone: debug information in every build, with this machine's paths;
# without optimization, traps for undefined behaviour, which the sanitizers' builds are for.
set(tools ${CMAKE_CURRENT_LIST_DIR}/../build-zig/${QDQ_ZIG_TARGET})
foreach(tool cc ar ranlib)
  set(before "")
  if(tool STREQUAL "cc")
    set(before " -target ${QDQ_ZIG_TARGET} -g0 -fno-sanitize=undefined")
  endif()
  set(text "#!/bin/sh\nexec '${QDQ_ZIG}' ${tool}${before} \"$@\"\n")
  set(old "")
  if(EXISTS ${tools}/${tool})
    file(READ ${tools}/${tool} old)
  endif()
  if(NOT text STREQUAL old)
    file(WRITE ${tools}/${tool} "${text}")
    file(CHMOD ${tools}/${tool} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                                            WORLD_EXECUTE)
  endif()
endforeach()
set(CMAKE_C_COMPILER ${tools}/cc)
set(CMAKE_AR ${tools}/ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${tools}/ranlib CACHE FILEPATH "")

if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(CMAKE_EXE_LINKER_FLAGS_INIT "-s") # what the C library's objects say for debuggers is five times the program
endif()

if(QDQ_CROSS)
  set(CMAKE_FIND_ROOT_PATH ${QDQ_CROSS})
  set(ENV{PKG_CONFIG_LIBDIR} ${QDQ_CROSS}/lib/pkgconfig)
  set(ENV{PKG_CONFIG_PATH} "")
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
