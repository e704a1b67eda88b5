// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "weights/checkpoint.h"

namespace lanner {

// Opens one safetensors file. Nothing but its header is read. Tensors of other types than F32, F16,
// BF16, I32 and U8 (parts of quantised formats) may be there; get() refuses them.
// Throws Error(kNotFound), Error(kIo) or Error(kCorruptFile), naming the path.
std::unique_ptr<Checkpoint> open_safetensors_file(const std::string& path);

// Opens the checkpoint of a Hugging Face folder: model.safetensors, or the files that
// model.safetensors.index.json names, each of which must hold what the index says.
// Throws Error(kNotFound) or Error(kUnsupported) with a hint where there is neither (pickle files),
// and as above.
std::unique_ptr<Checkpoint> open_safetensors_folder(const std::string& folder);

// Writes a safetensors file as a stream: the header at once, then the data of every tensor in the
// order given, in pieces of any size. The file appears under its name in finish(); before that, and
// without it, what lay there stays. (A device or a pipe is written directly.)
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    DType dtype;  // a plain type
    Shape shape;
  };

  // metadata: what readers may want to know of the file. Throws Error(kIo) naming the path.
  SafetensorsWriter(const std::string& path, const std::vector<Entry>& entries,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next rows. Throws Error(kIo) naming the path (disk full), Error(kInvalidArgument) if it is
  // more than the entries hold.
  void append(const Tensor& rows);
  // Throws Error(kInvalidArgument) if data is missing, Error(kIo) as above.
  void finish();

 private:
  void write(const void* data, size_t bytes);
  void discard() noexcept;

  std::string path_;     // as given, for errors
  std::string target_;   // what finish() renames to; links followed
  std::string partial_;  // what is written until then; empty for a device
  std::FILE* file_ = nullptr;
  int64_t bytes_left_ = 0;
};

}  // namespace lanner
