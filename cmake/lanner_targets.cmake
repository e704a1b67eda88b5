# SPDX-License-Identifier: Apache-2.0
# One static library per folder of src/, so that a forbidden dependency does not link either.

# lanner_library(<folder> SOURCES <file>... [DEPS <target>...])
function(lanner_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  set(target lanner_${folder})
  add_library(${target} STATIC ${ARG_SOURCES})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR}/src
                                              ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${target} PUBLIC ${ARG_DEPS})
endfunction()

# lanner_test(<name> SOURCES <file>... DEPS <target>... [LABELS <label>...])
# A GoogleTest program, one ctest entry. Label `isa` runs it once per ISA cap of this machine, with a main that checks that
# the cap took.
function(lanner_test name)
  if(NOT LANNER_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  if("isa" IN_LIST ARG_LABELS)
    target_link_libraries(${name} PRIVATE ${ARG_DEPS} lanner_isa_test_main GTest::gmock)
  else()
    target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 300)
  if("isa" IN_LIST ARG_LABELS)
    foreach(cap IN ITEMS scalar avx2 avx_vnni avx512 avx512_vnni avx512_bf16)
      add_test(NAME ${name}.${cap} COMMAND ${PROJECT_SOURCE_DIR}/tools/run_with_isa_cap ${cap}
                                           $<TARGET_FILE:${name}>)
      set_tests_properties(${name}.${cap} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600
                                                     SKIP_RETURN_CODE 77)
    endforeach()
  endif()
endfunction()

# lanner_benchmark(<name> SOURCES <file>... DEPS <target>...): a Google Benchmark program.
function(lanner_benchmark name)
  if(NOT LANNER_BUILD_BENCHMARKS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} benchmark::benchmark benchmark::benchmark_main)
  # Where `lanner bench op` looks for it: beside the program, not in it.
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin/benchmarks)
endfunction()

# lanner_public_sources(<target> <file>...): files that define functions of include/lanner. The shared library exports those
# that packaging/library/lanner.map names; everything else stays hidden in it.
function(lanner_public_sources target)
  foreach(file IN LISTS ARGN)
    set_property(SOURCE ${file} TARGET_DIRECTORY ${target} APPEND PROPERTY COMPILE_OPTIONS
                                                           -fvisibility=default)
  endforeach()
endfunction()
