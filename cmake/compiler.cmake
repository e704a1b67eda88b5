# SPDX-License-Identifier: Apache-2.0
# The language, the baseline CPU, warnings, sanitizers and ccache: the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# One binary for every x86-64 CPU: code above the baseline lives only in per-ISA kernel files.
add_compile_options(-march=x86-64 -mtune=generic)
# Kernels are compared bit by bit across builds; let no compiler fuse a multiply-add on its own.
add_compile_options(-ffp-contract=off)
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
if(LANNER_WARNINGS_AS_ERRORS)
  add_compile_options(-Werror)
endif()

if(LANNER_SANITIZE)
  add_compile_options(-fsanitize=${LANNER_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${LANNER_SANITIZE})
  if(LANNER_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Boost.Asio has fences, of which ThreadSanitizer knows nothing, beside the locks that it sees.
    add_compile_options(-Wno-tsan)
  endif()
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
