# SPDX-License-Identifier: Apache-2.0
# oneCCL for CPUs, as scripts/install_oneccl.sh, Intel's packages or a build of its sources install it: OneCCL::ccl.
# ONECCL_ROOT, or CCL_ROOT in the environment (Intel's setvars.sh), says where; else the user's cache is looked into.
if(DEFINED ENV{LANNER_CACHE})
  set(oneccl_cache $ENV{LANNER_CACHE})
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(oneccl_cache $ENV{XDG_CACHE_HOME}/lanner)
else()
  set(oneccl_cache $ENV{HOME}/.cache/lanner)
endif()
set(oneccl_hints ${ONECCL_ROOT} $ENV{ONECCL_ROOT} $ENV{CCL_ROOT} ${oneccl_cache}/oneccl)
find_path(ONECCL_INCLUDE_DIR oneapi/ccl.hpp HINTS ${oneccl_hints} PATH_SUFFIXES include)
find_library(ONECCL_LIBRARY ccl HINTS ${oneccl_hints} PATH_SUFFIXES lib)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OneCCL REQUIRED_VARS ONECCL_LIBRARY ONECCL_INCLUDE_DIR)
mark_as_advanced(ONECCL_INCLUDE_DIR ONECCL_LIBRARY)
if(OneCCL_FOUND AND NOT TARGET OneCCL::ccl)
  add_library(OneCCL::ccl UNKNOWN IMPORTED)
  set_target_properties(OneCCL::ccl PROPERTIES IMPORTED_LOCATION ${ONECCL_LIBRARY}
                                               INTERFACE_INCLUDE_DIRECTORIES ${ONECCL_INCLUDE_DIR})
endif()
