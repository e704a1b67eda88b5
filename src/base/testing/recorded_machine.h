// SPDX-License-Identifier: Apache-2.0
// For tests only.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

namespace lanner {

// A machine recorded in a text file (tests/topology/README.md has the form), expanded into a
// temporary folder that lives as long as this object: TopologySource::root for read_topology.
class RecordedMachine {
 public:
  explicit RecordedMachine(const std::string& file) {
    std::string folder =
        (std::filesystem::temp_directory_path() / "lanner_machine_XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) throw std::runtime_error("cannot make " + folder);
    root_ = folder;
    std::ifstream lines(file);
    if (!lines) throw std::runtime_error("cannot read " + file);
    for (std::string line; std::getline(lines, line);) {
      if (line.empty() || line.front() == '#') continue;
      const size_t equals = line.find(" =");
      if (equals == std::string::npos) throw std::runtime_error(file + ": no ' =' in: " + line);
      const std::string text = equals + 3 < line.size() ? line.substr(equals + 3) : "";
      write_all(line.substr(0, equals), unescape(text) + "\n");
    }
  }
  ~RecordedMachine() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  RecordedMachine(const RecordedMachine&) = delete;
  RecordedMachine& operator=(const RecordedMachine&) = delete;

  const std::string& root() const { return root_; }

 private:
  static std::string unescape(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      const bool escape = text[i] == '\\' && i + 1 < text.size();
      if (!escape) {
        out += text[i];
      } else {
        ++i;
        out += text[i] == 'n' ? '\n' : '\t';
      }
    }
    return out;
  }

  // "cpu{0-3,8}/x" stands for five files.
  void write_all(const std::string& path, const std::string& text) const {
    const size_t open = path.find('{');
    if (open == std::string::npos) {
      const std::filesystem::path file = root_ + path;
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file) << text;
      return;
    }
    const size_t close = path.find('}', open);
    std::string list = path.substr(open + 1, close - open - 1) + ",";
    for (size_t comma; (comma = list.find(',')) != std::string::npos; list.erase(0, comma + 1)) {
      const std::string part = list.substr(0, comma);
      const size_t dash = part.find('-');
      const int first = std::stoi(part);
      const int last = dash == std::string::npos ? first : std::stoi(part.substr(dash + 1));
      for (int number = first; number <= last; ++number) {
        write_all(path.substr(0, open) + std::to_string(number) + path.substr(close + 1), text);
      }
    }
  }

  std::string root_;
};

}  // namespace lanner
