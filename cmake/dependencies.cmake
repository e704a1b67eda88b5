# SPDX-License-Identifier: Apache-2.0
# Everything comes from the distribution's packages; scripts/install_dependencies.sh names them.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(CLI11 REQUIRED)
if(LANNER_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(LANNER_BUILD_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
