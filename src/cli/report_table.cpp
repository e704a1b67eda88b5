// SPDX-License-Identifier: Apache-2.0
#include "cli/report_table.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/json.h"
#include "cli/text.h"

namespace lanner::cli {
namespace {

// "kv_cache_bytes" -> "kv cache".
std::string label(std::string key) {
  if (key.ends_with("_bytes")) key.resize(key.size() - 6);
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

std::string scalar(const std::string& key, const Json& value) {
  if (key.ends_with("_bytes") && value.is_number_integer()) {
    return format_bytes(value.get<int64_t>());
  }
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_null()) return "-";
  if (value.is_number_float()) return fmt::format("{:.4g}", value.get<double>());
  return value.dump();
}

bool is_list_of_objects(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const Json& item) { return item.is_object(); });
}

std::string inline_value(const std::string& key, const Json& value) {
  if (!value.is_structured()) return scalar(key, value);
  std::string text;
  for (const auto& [name, item] : value.items()) {
    if (!text.empty()) text += ", ";
    if (value.is_object()) text += label(name) + " ";
    text += inline_value(value.is_object() ? name : key, item);
  }
  return text.empty() ? "none" : text;
}

// One row per object, one column per key, in the order of first appearance.
void add_rows(std::string& out, const Json& list, size_t indent) {
  std::vector<std::string> keys;
  for (const Json& row : list) {
    for (const auto& [key, value] : row.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  std::vector<std::vector<std::string>> cells(1);
  for (const std::string& key : keys) cells[0].push_back(label(key));
  for (const Json& row : list) {
    auto& line = cells.emplace_back();
    for (const std::string& key : keys) {
      line.push_back(row.contains(key) ? inline_value(key, row[key]) : "");
    }
  }
  for (const auto& line : cells) {
    out.append(indent, ' ');
    for (size_t column = 0; column < line.size(); ++column) {
      size_t width = 0;
      for (const auto& other : cells) width = std::max(width, other[column].size());
      const bool last = column + 1 == line.size();
      out += last ? line[column] : fmt::format("{:<{}}  ", line[column], width);
    }
    out += '\n';
  }
}

void add_object(std::string& out, const Json& object, size_t indent) {
  size_t width = 0;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_object() && !is_list_of_objects(value)) {
      width = std::max(width, label(key).size());
    }
  }
  for (const auto& [key, value] : object.items()) {
    if (indent == 0 && !out.empty() && value.is_structured()) out += '\n';
    out.append(indent, ' ');
    if (is_list_of_objects(value)) {
      out += label(key) + "\n";
      add_rows(out, value, indent + 2);
    } else if (value.is_object()) {
      out += label(key) + "\n";
      add_object(out, value, indent + 2);
    } else {
      out += fmt::format("{:<{}}  {}\n", label(key), width, inline_value(key, value));
    }
  }
}

}  // namespace

std::string report_table(const std::string& json) {
  std::string out;
  const Json report = parse_json(json, "report");
  if (!report.is_object()) return inline_value("", report) + "\n";
  add_object(out, report, 0);
  return out;
}

}  // namespace lanner::cli
