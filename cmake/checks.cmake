# SPDX-License-Identifier: Apache-2.0
# Checks of the code's structure and of its object files, as tests.

# lanner_collect_targets(<variable> <directory>): the compiled targets of a directory and those below, without tests and
# benchmarks.
function(lanner_collect_targets variable directory)
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(subdirectories DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
  set(found)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(type MATCHES "^(STATIC_LIBRARY|OBJECT_LIBRARY|SHARED_LIBRARY|EXECUTABLE)$" AND NOT target MATCHES
                                                                            "_(test|bench)$")
      list(APPEND found ${target})
    endif()
  endforeach()
  foreach(subdirectory IN LISTS subdirectories)
    lanner_collect_targets(below ${subdirectory})
    list(APPEND found ${below})
  endforeach()
  set(${variable} ${found} PARENT_SCOPE)
endfunction()

# lanner_object_check(): the test check_isa_objects over everything that src/ builds. Call it after src/.
function(lanner_object_check)
  lanner_collect_targets(targets ${PROJECT_SOURCE_DIR}/src)
  set(objects)
  foreach(target IN LISTS targets)
    string(APPEND objects "$<JOIN:$<TARGET_OBJECTS:${target}>,\n>\n")
  endforeach()
  get_property(sources GLOBAL PROPERTY LANNER_ISA_SOURCES)
  # Tests have kernels of their own, which no shipped program links.
  list(FILTER sources EXCLUDE REGEX "/testing/")
  list(JOIN sources "\n" sources)
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/checks/objects.txt CONTENT "${objects}")
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/checks/isa_sources.txt CONTENT "${sources}\n")
  add_test(NAME check_isa_objects
           COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/check_isa_objects
                   --isa-sources ${PROJECT_BINARY_DIR}/checks/isa_sources.txt
                   --objects ${PROJECT_BINARY_DIR}/checks/objects.txt)
  set_tests_properties(check_isa_objects PROPERTIES LABELS unit TIMEOUT 300)
endfunction()

# lanner_qemu_test(<name> <cpu> <expected> <command>...): the command on an emulated CPU; see qemu_test.sh.
function(lanner_qemu_test name cpu expected)
  add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/tests/portability/qemu_test.sh ${cpu} ${expected}
                                ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 300 SKIP_RETURN_CODE 77)
endfunction()
