// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/eval/metrics.h"

namespace lanner::cli {

// What a file of saved logits must have in common with the run that reads it.
struct SavedLogitsKey {
  uint64_t model = 0;       // family, sizes and vocabulary, whatever the type of the weights
  uint64_t text = 0;        // tokens and windows
  uint32_t vocabulary = 0;  // logits of a row
  uint64_t rows = 0;        // one per token that is scored, in order
};
// `model` as in the report of an LLM.
SavedLogitsKey saved_logits_key(const Json& model, std::span<const EvalWindow> windows);

// The file, little-endian:
//
//   8 bytes   "LNRLOGP1"
//   u64 u64   model, text: hashes
//   u32 u32   vocabulary, length of the description
//   u64       rows
//   bytes     the description of the configuration, UTF-8
//   rows      { f32 top; f32 step; u16 below[vocabulary] }: ln p = top - step * below
//
// step is a 65535th of the row's range, or of kSavedLogitsRange where that is wider: a ln p is at
// most half a step off (2.3e-4 for a range of 30), those beside the most probable token by less
// than a step one, and what is less probable than e^-64 of it counts as that.
inline constexpr float kSavedLogitsRange = 64.0f;
int64_t saved_logits_bytes(const SavedLogitsKey& key, const std::string& configuration);

// Writes beside the path and takes the place of a file there at the end; leaves nothing behind if
// there is none. Throws Failure naming the path: no room on the disk (before a byte is written),
// what the system says, logits that are no numbers.
class SavedLogitsWriter {
 public:
  SavedLogitsWriter(std::string path, const SavedLogitsKey& key, const std::string& configuration);
  ~SavedLogitsWriter();
  SavedLogitsWriter(const SavedLogitsWriter&) = delete;
  SavedLogitsWriter& operator=(const SavedLogitsWriter&) = delete;

  void add(std::span<const float> logits);  // [vocabulary]
  void finish();

 private:
  void check_stream();

  std::string path_, temporary_;
  std::ofstream file_;
  std::vector<uint16_t> below_;
  bool finished_ = false;
};

// Throws Failure naming the path: no such file, none of saved logits, another model, text or
// windows, a length that its header does not give, rows that no writer writes.
class SavedLogitsReader {
 public:
  SavedLogitsReader(std::string path, const SavedLogitsKey& key);

  const std::string& configuration() const { return configuration_; }
  // ln p of the next row, good until the next call.
  std::span<const float> next();

 private:
  std::string path_, configuration_;
  std::ifstream file_;
  std::vector<uint16_t> below_;
  std::vector<float> row_;
};

}  // namespace lanner::cli
