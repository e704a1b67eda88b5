// SPDX-License-Identifier: Apache-2.0
// replay FOLDER [--seeds FOLDER ENDING] [--mutations N] [--seed N] [--save FILE]
// A main for a fuzz target in builds without libFuzzer. Runs every file of the first folder, every
// one anywhere below the second whose name ends so, and N mutations of each. The same every time.
// Blind to coverage: it is there so that corpora stay right and the ordinary test suite sees a
// regression. --save writes each input there before it runs: the last one is the culprit.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "base/testing/fuzz_target.h"

namespace {

using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

constexpr size_t kMaxBytes = 64 << 10;

void run(const Bytes& input, const std::string& save) {
  if (!save.empty()) {
    std::ofstream(save, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
  }
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

class Mutator {
 public:
  Mutator(const std::vector<Bytes>& corpus, uint64_t seed) : corpus_(corpus), random_(seed) {}

  Bytes operator()(Bytes input) {
    for (uint64_t rounds = 1 + below(6); rounds > 0; --rounds) mutate_once(input);
    if (input.size() > kMaxBytes) input.resize(kMaxBytes);
    return input;
  }

 private:
  uint64_t below(uint64_t end) { return end == 0 ? 0 : random_() % end; }

  void mutate_once(Bytes& input) {
    const size_t at = below(input.size() + 1);
    const size_t length = std::min<size_t>(1 + below(32), input.size() - at);
    const auto begin = input.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = begin + static_cast<std::ptrdiff_t>(length);
    switch (below(6)) {
      case 0:  // a bit
        if (length > 0) *begin = static_cast<uint8_t>(*begin ^ (1 << below(8)));
        break;
      case 1:  // gone
        input.erase(begin, end);
        break;
      case 2: {  // twice
        const Bytes piece(begin, end);
        input.insert(begin, piece.begin(), piece.end());
        break;
      }
      case 3: {  // a number at an edge
        static constexpr int64_t kEdges[] = {
            0,         1,        -1, 127, 128, 255, 65535, INT32_MAX, INT32_MIN, int64_t{1} << 32,
            INT64_MAX, INT64_MIN};
        const int64_t value = kEdges[below(std::size(kEdges))];
        if (length > 0) std::memcpy(&*begin, &value, std::min(length, sizeof value));
        break;
      }
      case 4: {  // a piece of another file
        const Bytes& other = corpus_[below(corpus_.size())];
        const size_t from = below(other.size());
        const size_t bytes = std::min<size_t>(1 + below(64), other.size() - from);
        const auto piece = other.begin() + static_cast<std::ptrdiff_t>(from);
        input.insert(begin, piece, piece + static_cast<std::ptrdiff_t>(bytes));
        break;
      }
      default:  // a byte that means something in most formats
        static constexpr std::string_view kSigns = "\"{}[]:,-0.9e\\\n\r %\xff";
        input.insert(begin, static_cast<uint8_t>(kSigns[below(kSigns.size())]));
    }
  }

  const std::vector<Bytes>& corpus_;
  std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
  uint64_t mutations = 0;
  uint64_t seed = 1;
  std::string save;
  std::vector<fs::path> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--mutations" && i + 1 < argc) {
      mutations = std::stoull(argv[++i]);
    } else if (argument == "--seed" && i + 1 < argc) {
      seed = std::stoull(argv[++i]);
    } else if (argument == "--save" && i + 1 < argc) {
      save = argv[++i];
    } else if (argument == "--seeds" && i + 2 < argc) {
      const fs::path folder = argv[++i];
      const std::string_view ending = argv[++i];
      for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        if (entry.path().string().ends_with(ending)) paths.push_back(entry.path());
      }
    } else {
      for (const auto& entry : fs::directory_iterator(argument)) paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const fs::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s cannot be read\n", path.c_str());
      return 2;
    }
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "usage: %s FOLDER [--seeds FOLDER ENDING] [--mutations N]\n", argv[0]);
    return 2;
  }
  Mutator mutate(corpus, seed);
  for (size_t i = 0; i < corpus.size(); ++i) {
    std::fprintf(stderr, "%s\n", paths[i].c_str());  // the last one is the culprit
    run(corpus[i], save);
    for (uint64_t n = 0; n < mutations; ++n) run(mutate(corpus[i]), save);
  }
  std::fprintf(stderr, "%zu inputs, %llu mutations of each\n", corpus.size(),
               static_cast<unsigned long long>(mutations));
  return 0;
}
