// SPDX-License-Identifier: Apache-2.0
#include "engine/rank_message.h"

#include "base/error.h"

namespace lanner {
namespace {

// [begin, begin + count) lies in [0, size).
bool is_range(int64_t begin, int64_t count, size_t size) {
  return begin >= 0 && count >= 0 && begin + count <= static_cast<int64_t>(size);
}

void check(bool is_right, const char* what) {
  if (!is_right) {
    throw_error(ErrorCode::kIo, "[distributed] a step of rank 0 contradicts itself: {}", what);
  }
}

}  // namespace

void MessageWriter::put_bytes(const void* data, size_t size) {
  const size_t at = bytes_.size();
  bytes_.resize(at + size);
  if (size > 0) std::memcpy(bytes_.data() + at, data, size);
}

const std::byte* MessageReader::next_elements(uint64_t count, size_t size) {
  if (count > (bytes_.size() - at_) / size) {
    throw_error(ErrorCode::kIo, "[distributed] a message of {} bytes ends too early",
                bytes_.size());
  }
  const std::byte* data = bytes_.data() + at_;
  at_ += count * size;
  return data;
}

void write_step(const SchedulerOutput& output, MessageWriter& writer) {
  writer.put(output.step);
  writer.put_vector(output.copies);
  writer.put_vector(output.sequences);
  writer.put_vector(output.tokens);
  writer.put_vector(output.slots);
  writer.put_vector(output.blocks);
}

SchedulerOutput read_step(MessageReader& reader) {
  SchedulerOutput output;
  output.step = reader.get<uint64_t>();
  output.copies = reader.get_vector<BlockCopy>();
  output.sequences = reader.get_vector<ScheduledSequence>();
  output.tokens = reader.get_vector<int32_t>();
  output.slots = reader.get_vector<int64_t>();
  output.blocks = reader.get_vector<int32_t>();
  check(output.slots.size() == output.tokens.size(), "tokens and slots");
  for (const ScheduledSequence& s : output.sequences) {
    check(is_range(s.token_begin, s.num_tokens, output.tokens.size()), "a sequence's tokens");
    check(is_range(s.block_begin, s.num_blocks, output.blocks.size()), "a sequence's blocks");
    check(s.num_logits >= 0 && s.num_logits <= s.num_tokens, "a sequence's logits");
    check(s.num_hidden >= 0 && s.num_hidden <= s.num_tokens, "a sequence's hidden states");
  }
  return output;
}

namespace {

// One list of fields for both directions: stream(field) writes or reads it.
template <typename Fields, typename Edits>
void each_of_edits(Fields&& stream, Edits& edits) {
  stream(edits.has_mask);
  stream(edits.mask);
  stream(edits.biases);
  stream(edits.banned);
  stream(edits.counts);
  stream(edits.repetition_penalty);
  stream(edits.frequency_penalty);
  stream(edits.presence_penalty);
}

template <typename Fields, typename Selection>
void each_of_selection(Fields&& stream, Selection& row) {
  stream(row.row);
  stream(row.temperature);
  stream(row.top_k);
  stream(row.top_p);
  stream(row.min_p);
  stream(row.typical_p);
  stream(row.uniforms);
  stream(row.num_candidates);
  stream(row.wants_logprobs);
  stream(row.num_logprobs);
  each_of_edits(stream, row.edits);
}

template <typename Fields, typename Config>
void each_of_config(Fields&& stream, Config& config) {
  stream(config.dtype);
  stream(config.random_weights);
  stream(config.kv_dtype);
  stream(config.attention);
  stream(config.threads);
  stream(config.communicator);
  stream(config.wire);
  stream(config.max_context);
  stream(config.kv_cache_bytes);
  stream(config.max_tokens_per_step);
  stream(config.max_sequences);
  stream(config.lora);
  stream(config.lora_merge);
}

class WriteField {
 public:
  explicit WriteField(MessageWriter& writer) : writer_(writer) {}
  void operator()(const std::string& text) const { writer_.put_text(text); }
  void operator()(const std::vector<LoraSource>& sources) const {
    writer_.put<uint64_t>(sources.size());
    for (const LoraSource& source : sources) {
      writer_.put_text(source.name);
      writer_.put_text(source.path);
    }
  }
  template <typename T>
  void operator()(const std::vector<T>& values) const {
    writer_.put_vector(values);
  }
  template <typename T>
  void operator()(const T& value) const {
    writer_.put(value);
  }

 private:
  MessageWriter& writer_;
};

class ReadField {
 public:
  explicit ReadField(MessageReader& reader) : reader_(reader) {}
  void operator()(std::string& text) const { text = reader_.get_text(); }
  // A byte that is neither 0 nor 1 is no bool.
  void operator()(bool& value) const { value = reader_.get<uint8_t>() != 0; }
  void operator()(std::vector<LoraSource>& sources) const {
    for (auto left = reader_.get<uint64_t>(); left > 0; --left) {
      LoraSource& source = sources.emplace_back();
      source.name = reader_.get_text();
      source.path = reader_.get_text();
    }
  }
  template <typename T>
  void operator()(std::vector<T>& values) const {
    values = reader_.get_vector<T>();
  }
  template <typename T>
  void operator()(T& value) const {
    value = reader_.get<T>();
  }

 private:
  MessageReader& reader_;
};

}  // namespace

void write_selections(const std::vector<RowSelection>& rows, MessageWriter& writer) {
  writer.put<uint64_t>(rows.size());
  for (const RowSelection& row : rows) each_of_selection(WriteField(writer), row);
}

std::vector<RowSelection> read_selections(MessageReader& reader) {
  std::vector<RowSelection> rows;
  for (auto left = reader.get<uint64_t>(); left > 0; --left) {
    each_of_selection(ReadField(reader), rows.emplace_back());
  }
  return rows;
}

void write_config(const LlmConfig& config, MessageWriter& writer) {
  each_of_config(WriteField(writer), config);
}

LlmConfig read_config(MessageReader& reader) {
  LlmConfig config;
  each_of_config(ReadField(reader), config);
  return config;
}

}  // namespace lanner
