# SPDX-License-Identifier: Apache-2.0
# Compiler flags of each ISA. A kernel file <isa>.cpp (or <something>_<isa>.cpp, <isa>_<something>.cpp) is built with the
# flags of its ISA, and with -O3 in every preset: a kernel that falls back to memory operands in a debug build is not the
# same kernel. Only the sanitizer presets build it at -O1.
set(LANNER_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(LANNER_ISA_FLAGS_avx_vnni ${LANNER_ISA_FLAGS_avx2} -mavxvnni)
set(LANNER_ISA_FLAGS_avx512 ${LANNER_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
    -mprefer-vector-width=512)
set(LANNER_ISA_FLAGS_avx512_vnni ${LANNER_ISA_FLAGS_avx512} -mavx512vnni)
set(LANNER_ISA_FLAGS_avx512_bf16 ${LANNER_ISA_FLAGS_avx512_vnni} -mavx512bf16)
set(LANNER_ISA_FLAGS_amx ${LANNER_ISA_FLAGS_avx512_bf16} -mamx-tile -mamx-int8 -mamx-bf16)

# lanner_isa_sources(<target> <isa> <file>...): adds kernel files to a target, built for one ISA.
function(lanner_isa_sources target isa)
  if(NOT DEFINED LANNER_ISA_FLAGS_${isa})
    message(FATAL_ERROR "unknown ISA '${isa}': add a row to cmake/isa_flags.cmake")
  endif()
  set(level -O3)
  if(LANNER_SANITIZE)
    # A file of many instantiations takes minutes at -O3 then, and speed is not what it is for.
    set(level -O1)
  endif()
  set(flags ${LANNER_ISA_FLAGS_${isa}} ${level})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12 warns of an uninitialised __Y inside its own AVX-512 headers.
    list(APPEND flags -Wno-maybe-uninitialized -Wno-uninitialized)
  endif()
  foreach(file IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    target_sources(${target} PRIVATE ${file})
    # Read by the nm check: which objects must not export anything but their table.
    set_property(GLOBAL APPEND PROPERTY LANNER_ISA_SOURCES ${file})
    set_source_files_properties(${file} TARGET_DIRECTORY ${target} PROPERTIES COMPILE_OPTIONS
                                "${flags}")
  endforeach()
endfunction()
