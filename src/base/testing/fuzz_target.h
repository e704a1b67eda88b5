// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. A target is the function that libFuzzer calls; replay.cpp calls it
// in builds without libFuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

#include "lanner/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace lanner::fuzz {

// Ends the process, so that the fuzzer keeps the input.
[[noreturn]] inline void defect(const std::string& what) {
  std::fprintf(stderr, "defect: %s\n", what.c_str());
  std::abort();
}

// Calls function(), which may throw an Error: that is the answer to bad input. A defect of Lanner
// (kInternal), a sentence without end and any other exception are not. True: nothing was thrown.
template <typename Function>
bool attempt(Function&& function) {
  try {
    function();
    return true;
  } catch (const Error& e) {
    const std::string_view what = e.what();
    if (e.code() == ErrorCode::kInternal) defect("internal error: " + std::string(what));
    if (what.empty() || what.size() > 4000) defect("the error's text has a size nobody can read");
    return false;
  } catch (const std::exception& e) {
    defect(std::string("not an Error: ") + e.what());
  }
}

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Takes the text up to the separator, or all of it, off the front.
inline std::string_view take_until(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view head = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return head;
}

}  // namespace lanner::fuzz
