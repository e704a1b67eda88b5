#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the engines that Lanner is measured against, and the tools that write their models, into a folder of the cache.
# Neither the build nor a test needs any of it.
#
# Usage: benchmarks/peers/install.sh [llama.cpp] [openvino] [ctranslate2] [onednn]     (none: all of them)
set -euo pipefail

folder=${LANNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lanner}/peers
jobs=${LANNER_PEER_JOBS:-$(nproc)}
mkdir -p "$folder"
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(llama.cpp openvino ctranslate2 onednn)

[ -x "$folder/venv/bin/python" ] || python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gguf numpy typing_extensions

# The one release of llama.cpp that PyPI carries as a source archive, built as llama-cpp-python builds it for this machine.
install_llama_cpp() {
  if [ ! -d "$folder/llama-src" ]; then
    "$folder/venv/bin/pip" download --quiet --no-deps --no-binary :all: --dest "$folder" llama-cpp-python==0.3.36
    mkdir "$folder/llama-src.partial"
    tar xzf "$folder"/llama_cpp_python-0.3.36.tar.gz -C "$folder/llama-src.partial" --strip-components=1
    mv "$folder/llama-src.partial" "$folder/llama-src"
  fi
  cmake -S "$folder/llama-src/vendor/llama.cpp" -B "$folder/llama-build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DLLAMA_CURL=OFF
  cmake --build "$folder/llama-build" -j "$jobs" --target llama llama-server llama-batched-bench
}

# The last release of oneDNN that PyPI carries for g++ and libgomp: 3.2. For gemm_bench, which is then built beside it.
install_onednn() {
  "$folder/venv/bin/pip" install --quiet --no-deps --prefix "$folder/onednn" onednn-cpu-gomp==2023.2.0 \
    onednn-devel-cpu-gomp==2023.2.0
  local config
  config=$(find "$folder/onednn" -name 'dnnl-config.cmake' -print -quit)
  echo "cmake --preset release -B build/onednn -DLANNER_BUILD_BENCHMARKS=ON -DLANNER_WITH_ONEDNN=ON -Ddnnl_DIR=${config%/*}"
  echo "ninja -C build/onednn gemm_bench && OMP_WAIT_POLICY=passive build/onednn/bin/benchmarks/gemm_bench --benchmark_filter='(gemm/(fp32|bf16|w8a8)|onednn.*)/'"
}

for peer in "${wanted[@]}"; do
  case $peer in
    llama.cpp) install_llama_cpp ;;
    openvino) "$folder/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-genai==2026.4.1 ;;
    onednn) install_onednn ;;
    ctranslate2) "$folder/venv/bin/pip" install --quiet ctranslate2==4.8.5 ;;
    *) echo "install.sh: no peer '$peer'; there are: llama.cpp, openvino, ctranslate2, onednn" >&2; exit 2 ;;
  esac
done
echo "installed in $folder: ${wanted[*]}"
