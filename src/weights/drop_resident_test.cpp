// SPDX-License-Identifier: Apache-2.0
#include "weights/drop_resident.h"

#include <cstring>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/buffer.h"
#include "weights/mapped_file.h"
#include "weights/testing/temp_folder.h"

namespace lanner {
namespace {

constexpr int64_t kBytes = int64_t{64} << 20;

// Resident pages of files, in bytes: the third number of statm.
int64_t resident_file_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  int64_t shared = 0;
  statm >> size >> resident >> shared;
  return shared * sysconf(_SC_PAGESIZE);
}

int64_t sum(const Tensor& tensor) {
  int64_t total = 0;
  for (int64_t i = 0; i < tensor.bytes(); ++i) total += static_cast<int>(tensor.raw()[i]);
  return total;
}

TEST(DropResident, TakesPartOfAMappedTensorOutOfMemoryAndNothingElse) {
  const TempFolder folder;
  const std::string path = folder.write("data", std::string(static_cast<size_t>(kBytes), 'x'));
  const auto file = MappedFile::open(path);
  const CheckpointTensor tensor = file->tensor(0, DType::kU8, Shape{kBytes});
  const int64_t before = resident_file_bytes();
  const int64_t expected = sum(tensor.view);
  const int64_t read = resident_file_bytes();
  EXPECT_GT(read - before, kBytes * 3 / 4);

  drop_resident(tensor, tensor.view.raw(), tensor.view.raw() + kBytes / 2);
  EXPECT_LT(resident_file_bytes(), read - kBytes / 4);
  EXPECT_EQ(sum(tensor.view), expected) << "it is read from the file again";

  // Bytes of something else.
  const int64_t all = resident_file_bytes();
  drop_resident(tensor, tensor.view.raw(), tensor.view.raw() + kBytes + 1);
  EXPECT_GT(resident_file_bytes(), all - kBytes / 4);
}

TEST(DropResident, LeavesMemoryThatNoFileBacks) {
  const auto memory = std::make_shared<Buffer>(size_t{8} << 20);
  std::memset(memory->data(), 1, memory->size());
  const CheckpointTensor tensor{
      Tensor(memory->data(), DType::kU8, Shape{static_cast<int64_t>(memory->size())}), memory};
  drop_resident(tensor, memory->data(), memory->data() + memory->size());
  EXPECT_EQ(sum(tensor.view), tensor.view.bytes());
}

}  // namespace
}  // namespace lanner
