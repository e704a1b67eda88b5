// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace lanner {

// The keyword arguments of a Python call, as ChatGLM3 writes it: location='Beijing', days=3. As
// JSON text of an object; nothing if they are anything but names and literals (strings, numbers,
// True, False, None, lists, tuples, dictionaries), nested at most 32 deep.
std::optional<std::string> python_arguments(std::string_view text);

// Finds the parenthesis that closes a call in a text that comes in pieces.
class PythonCallScanner {
 public:
  // After the opening parenthesis. Takes the bytes up to the closing one; returns how many.
  size_t push(std::string_view text);
  // The byte after what was taken is the closing parenthesis.
  bool done() const { return done_; }

 private:
  char quote_ = 0;
  bool escaped_ = false;
  size_t depth_ = 0;
  bool done_ = false;
};

}  // namespace lanner
