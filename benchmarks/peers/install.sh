#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the engines that Lanner is measured against, and the tools that write their models, into a folder of the cache.
# Neither the build nor a test needs any of it.
#
# Usage: benchmarks/peers/install.sh [llama.cpp] [openvino] [ctranslate2]     (none: all of them)
set -euo pipefail

folder=${LANNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lanner}/peers
jobs=${LANNER_PEER_JOBS:-$(nproc)}
mkdir -p "$folder"
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(llama.cpp openvino ctranslate2)

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
  cmake --build "$folder/llama-build" -j "$jobs" --target llama llama-server
}

for peer in "${wanted[@]}"; do
  case $peer in
    llama.cpp) install_llama_cpp ;;
    openvino) "$folder/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-genai==2026.4.1 ;;
    ctranslate2) "$folder/venv/bin/pip" install --quiet ctranslate2==4.8.5 ;;
    *) echo "install.sh: no peer '$peer'; there are: llama.cpp, openvino, ctranslate2" >&2; exit 2 ;;
  esac
done
echo "installed in $folder: ${wanted[*]}"
