// SPDX-License-Identifier: Apache-2.0
// ModelRunner: what ranks tell each other.
#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "distributed/message.h"
#include "engine/model_runner.h"
#include "engine/rank_message.h"
#include "weights/content_hash.h"

namespace lanner {

uint64_t fingerprint(const ModelFiles& files) {
  std::string text = files.config.json().dump();
  for (const std::string& name : files.checkpoint->names()) {
    const TensorInfo info = files.checkpoint->info(name);
    text += fmt::format("|{} {} {}", name, info.dtype, fmt::join(info.shape, "x"));
  }
  for (const LoraAdapter& adapter : files.lora) {
    text += fmt::format("|{}", adapter.name);
    for (const auto& [name, module] : adapter.modules) {
      text += fmt::format("|{} {} {}", name, module.a.view.shape(), module.scale);
    }
  }
  return make_message_header(0, std::as_bytes(std::span(text))).checksum;
}

uint64_t content_hash(const ModelFiles& files) {
  std::vector<std::span<const std::byte>> all = files.checkpoint->stored_bytes();
  for (const LoraAdapter& adapter : files.lora) append_stored_bytes(adapter, all);
  return hash_contents(all);
}

// The ranks see other memory, and a block has to be there on all of them: the least of them counts.
void ModelRunner::agree() {
  std::vector<MemoryPlan> plans(static_cast<size_t>(place_.size));
  communicator_->all_gather(std::as_bytes(std::span(&plan_.memory, 1)),
                            std::as_writable_bytes(std::span(plans)));
  const int context = std::ranges::min(plans, {}, &MemoryPlan::max_context).max_context;
  plan_.memory = std::ranges::min(plans, {}, &MemoryPlan::num_blocks);
  plan_.memory.max_context = context;
}

void ModelRunner::tell(RankCommand command, const std::function<void(MessageWriter&)>& write) {
  if (place_.size == 1) return;
  MessageWriter writer;
  writer.put(command);
  if (write) write(writer);
  communicator_->broadcast(writer.take());
}

void ModelRunner::follow() {
  guarded([&] {
    for (bool goes_on = true; goes_on;) {
      const std::vector<std::byte> message = communicator_->broadcast({});
      MessageReader reader(message);
      obey(reader, goes_on);
    }
  });
}

void ModelRunner::obey(MessageReader& message, bool& goes_on) {
  switch (message.get<RankCommand>()) {
    case RankCommand::kStop:
      goes_on = false;
      return;
    case RankCommand::kStep:
      run_step(read_step(message));
      return;
    case RankCommand::kChunk: {
      const auto begin = message.get<int32_t>(), end = message.get<int32_t>();
      const auto adapter = message.get<int32_t>();
      const std::vector<int32_t> tokens = message.get_vector<int32_t>();
      gather_rows(run_chunk(tokens, begin, end, adapter), end - begin);
      return;
    }
    case RankCommand::kSelect:
      select_tokens(step_logits_, read_selections(message), vocab_slice(), *threads_);
      return;
    case RankCommand::kScore: {
      const auto first_row = message.get<int64_t>();
      const auto num_top = message.get<int32_t>();
      const std::vector<int32_t> tokens = message.get_vector<int32_t>();
      score_tokens(step_logits_, first_row, tokens, num_top, vocab_slice(), *threads_);
      return;
    }
    case RankCommand::kSyntheticPrefill:
      synthetic_prefill_.reset(message.get<uint8_t>() != 0 ? new SyntheticPrefill : nullptr);
      return;
  }
  throw_error(ErrorCode::kIo, "[distributed] rank 0 sent a command that is unknown");
}

VocabSlice ModelRunner::vocab_slice() const {
  const int64_t vocab_size = plan_.info.vocab_size;
  return {.begin = static_cast<int32_t>(vocab_.begin),
          .size = static_cast<int32_t>(vocab_.size()),
          .largest = static_cast<int32_t>(share_of_vocab(vocab_size, 0, place_.size).size()),
          .vocab_size = static_cast<int32_t>(vocab_size),
          .rank = place_.rank,
          .num_ranks = place_.size,
          .all_gather = [this](auto mine, auto all) { communicator_->all_gather(mine, all); }};
}

std::vector<RowChoice> ModelRunner::select(const std::vector<RowSelection>& rows) {
  return guarded([&] {
    tell(RankCommand::kSelect, [&](MessageWriter& writer) { write_selections(rows, writer); });
    return select_tokens(step_logits_, rows, vocab_slice(), *threads_);
  });
}

std::vector<PositionScores> ModelRunner::score(int64_t first_row, std::span<const int32_t> tokens,
                                               int num_top) {
  return guarded([&] {
    tell(RankCommand::kScore, [&](MessageWriter& writer) {
      writer.put<int64_t>(first_row);
      writer.put<int32_t>(num_top);
      writer.put_vector(std::vector<int32_t>(tokens.begin(), tokens.end()));
    });
    return score_tokens(step_logits_, first_row, tokens, num_top, vocab_slice(), *threads_);
  });
}

// Whole rows are what was asked for: here, and nowhere else, logits travel as they are.
Tensor ModelRunner::gather_rows(const Tensor& part, int64_t num_rows) {
  if (place_.size == 1) return part;
  const int64_t vocab_size = info().vocab_size;
  const int64_t widest = share_of_vocab(vocab_size, 0, place_.size).size();
  std::vector<float> mine(static_cast<size_t>(num_rows * widest));
  for (int64_t row = 0; row < part.num_rows(); ++row) {
    std::copy_n(part.row<float>(row), vocab_.size(), mine.data() + row * widest);
  }
  std::vector<float> all(mine.size() * static_cast<size_t>(place_.size));
  communicator_->all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  if (place_.rank != 0) return {};
  whole_ = Buffer(static_cast<size_t>(num_rows * vocab_size) * sizeof(float));
  const Tensor whole(whole_.data(), DType::kF32, Shape{num_rows, vocab_size});
  for (int rank = 0; rank < place_.size; ++rank) {
    const Share share = share_of_vocab(vocab_size, rank, place_.size);
    const float* rows = all.data() + static_cast<size_t>(rank) * mine.size();
    for (int64_t row = 0; row < num_rows; ++row) {
      std::copy_n(rows + row * widest, share.size(), whole.row<float>(row) + share.begin);
    }
  }
  return whole;
}

}  // namespace lanner
