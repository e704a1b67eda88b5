// SPDX-License-Identifier: Apache-2.0
// What rank 0 tells the other ranks: one message per call of its ModelRunner, integers for the most
// part. The communicator numbers messages and checks their sums (distributed/message.h); what is in
// them is checked here all the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "lanner/config.h"
#include "sampling/split_logits.h"
#include "scheduler/scheduler_output.h"

namespace lanner {

enum class RankCommand : uint32_t { kStop = 1, kStep, kChunk, kSyntheticPrefill, kSelect, kScore };

class MessageWriter {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(&value, sizeof(T));
  }
  // Its length, then its elements.
  template <typename T>
  void put_vector(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put<uint64_t>(values.size());
    put_bytes(values.data(), values.size() * sizeof(T));
  }
  void put_text(const std::string& text) {
    put_vector(std::vector<char>(text.begin(), text.end()));
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void put_bytes(const void* data, size_t size);

  std::vector<std::byte> bytes_;
};

// Reads what a MessageWriter wrote, in the same order. Throws Error(kIo) where there is less of it.
// The bytes must outlive it.
class MessageReader {
 public:
  explicit MessageReader(const std::vector<std::byte>& bytes) : bytes_(bytes) {}

  template <typename T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, next(sizeof(T)), sizeof(T));
    return value;
  }
  template <typename T>
  std::vector<T> get_vector() {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto count = get<uint64_t>();
    const std::byte* from = next_elements(count, sizeof(T));
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), from, count * sizeof(T));
    return values;
  }
  std::string get_text() {
    const std::vector<char> text = get_vector<char>();
    return {text.begin(), text.end()};
  }

 private:
  const std::byte* next(size_t size) { return next_elements(1, size); }
  const std::byte* next_elements(uint64_t count, size_t size);

  const std::vector<std::byte>& bytes_;
  size_t at_ = 0;
};

// The decision about a step. Throws Error(kIo) for one that contradicts itself.
void write_step(const SchedulerOutput& output, MessageWriter& writer);
SchedulerOutput read_step(MessageReader& reader);

// What is to be chosen from the rows of the step before.
void write_selections(const std::vector<RowSelection>& rows, MessageWriter& writer);
std::vector<RowSelection> read_selections(MessageReader& reader);

// What another process needs to load the model as this one does.
void write_config(const LlmConfig& config, MessageWriter& writer);
LlmConfig read_config(MessageReader& reader);

}  // namespace lanner
