// SPDX-License-Identifier: Apache-2.0
#include "weights/hf_vocabulary.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unordered_map>

#include "base/error.h"
#include "base/json.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTokenizerFile = "tokenizer.json";
constexpr const char* kOtherTokenizers[] = {"tokenizer.model", "vocab.json", "ice_text.model"};

// llama.cpp's names of the ways to cut text (llama-vocab.cpp), by the pattern of the
// tokenizer.json.
struct PreTokenizer {
  const char* name;
  const char* pattern;
};
constexpr PreTokenizer kPreTokenizers[] = {
    {"llama-bpe",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"tekken",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
};

class HfVocabulary {
 public:
  HfVocabulary(std::string folder, const GenerationConfig& generation)
      : path_((fs::path(folder) / kTokenizerFile).string()),
        folder_(std::move(folder)),
        generation_(generation),
        json_(read_json_file(path_)) {
    const fs::path config = fs::path(folder_) / "tokenizer_config.json";
    if (fs::exists(config)) config_ = read_json_file(config.string());
  }

  GgufTokenizerData read(int64_t vocab_size) {
    const Json& model = object(json_, "model");
    if (model.value("type", std::string("BPE")) != "BPE") {
      refuse(fmt::format("a tokenizer of type {}", model.at("type").dump()));
    }
    const bool falls_back = model.value("byte_fallback", false);
    read_tokens(object(model, "vocab"), vocab_size);
    read_merges(model);
    if (falls_back) {
      as_sentencepiece();
    } else {
      data_.model = "gpt2";
      data_.pre = pre_tokenizer();
    }
    read_added();
    read_roles();
    read_chat_template();
    return std::move(data_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw_error(ErrorCode::kUnsupported, "{}: {} cannot be written to a GGUF file", path_, what);
  }
  [[noreturn]] void corrupt(const std::string& what) const {
    throw_error(ErrorCode::kCorruptFile, "{}: {}", path_, what);
  }

  const Json& object(const Json& parent, const char* key) const {
    const auto found = parent.find(key);
    if (found == parent.end() || !found->is_object())
      corrupt(fmt::format("'{}' is no object", key));
    return *found;
  }

  void set_token(int64_t id, const std::string& text, GgufTokenType type) {
    if (id < 0 || id >= static_cast<int64_t>(data_.tokens.size())) {
      corrupt(fmt::format("token {} has the id {}, but the model has {} tokens", quote_name(text),
                          id, data_.tokens.size()));
    }
    data_.tokens[static_cast<size_t>(id)] = text;
    data_.token_types[static_cast<size_t>(id)] = type;
    ids_[text] = static_cast<int32_t>(id);
  }

  void read_tokens(const Json& vocab, int64_t vocab_size) {
    const auto count = static_cast<size_t>(vocab_size);
    data_.token_types.assign(count, GgufTokenType::kUnused);
    for (size_t id = 0; id < count; ++id) data_.tokens.push_back(fmt::format("[PAD{}]", id));
    for (const auto& [text, id] : vocab.items()) {
      if (!id.is_number_integer()) corrupt(fmt::format("token {} has no id", quote_name(text)));
      set_token(id.get<int64_t>(), text, GgufTokenType::kNormal);
    }
  }

  void read_merges(const Json& model) {
    const auto merges = model.find("merges");
    if (merges == model.end() || !merges->is_array()) corrupt("'merges' is no list");
    for (const Json& merge : *merges) {
      if (merge.is_string()) {
        data_.merges.push_back(merge.get<std::string>());
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        data_.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      } else {
        corrupt("a merge is no pair of tokens");
      }
    }
  }

  // The order of the merges becomes the scores of what they make: the earlier, the higher.
  void as_sentencepiece() {
    data_.model = "llama";
    data_.pre = "default";
    const auto lowest = -static_cast<float>(data_.merges.size()) - 1.0f;
    data_.scores.assign(data_.tokens.size(), lowest);
    std::vector<bool> scored(data_.tokens.size());
    for (size_t rank = 0; rank < data_.merges.size(); ++rank) {
      std::string joined = data_.merges[rank];
      joined.erase(joined.find(' '), 1);
      const auto made = ids_.find(joined);
      if (made == ids_.end()) corrupt(fmt::format("merge {} makes no token", rank));
      const auto id = static_cast<size_t>(made->second);
      if (!scored[id]) data_.scores[id] = -static_cast<float>(rank);
      scored[id] = true;
    }
    data_.merges.clear();
    for (size_t id = 0; id < data_.tokens.size(); ++id) {
      const std::string& text = data_.tokens[id];
      if (text.size() == 6 && text.starts_with("<0x") && text.ends_with(">")) {
        data_.token_types[id] = GgufTokenType::kByte;
      }
    }
    const Json& model = json_.at("model");
    const auto unknown = model.find("unk_token");
    if (unknown != model.end() && unknown->is_string()) {
      const auto id = ids_.find(unknown->get<std::string>());
      if (id != ids_.end()) {
        data_.unk_id = id->second;
        data_.token_types[static_cast<size_t>(id->second)] = GgufTokenType::kUnknown;
      }
    }
    data_.add_space_prefix = json_.at("normalizer").dump().find("Prepend") != std::string::npos ||
                             prepends(json_.value("pre_tokenizer", Json()));
  }

  static bool prepends(const Json& pre_tokenizer) {
    return pre_tokenizer.is_object() && pre_tokenizer.value("type", "") == "Metaspace" &&
           pre_tokenizer.value("prepend_scheme", "always") != "never" &&
           pre_tokenizer.value("add_prefix_space", true);
  }

  std::string pre_tokenizer() const {
    const Json pre = json_.value("pre_tokenizer", Json());
    Json steps = Json::array();
    if (pre.is_object() && pre.value("type", "") == "Sequence") {
      steps = pre.value("pretokenizers", Json::array());
    } else {
      steps.push_back(pre);
    }
    const auto type = [&](size_t i) {
      return steps[i].is_object() ? steps[i].value("type", "") : std::string();
    };
    const bool last_maps_bytes = !steps.empty() && type(steps.size() - 1) == "ByteLevel" &&
                                 !steps.back().value("add_prefix_space", true);
    if (last_maps_bytes) {
      const bool gpt2 = steps.back().value("use_regex", true);
      if (steps.size() == 1 && gpt2) return "gpt-2";
      if (steps.size() == 2 && gpt2 && type(0) == "Digits" &&
          steps[0].value("individual_digits", false)) {
        return "smollm";
      }
      if (steps.size() == 2 && !gpt2 && type(0) == "Split") {
        const std::string pattern = steps[0].value("pattern", Json::object()).value("Regex", "");
        for (const PreTokenizer& known : kPreTokenizers) {
          if (pattern == known.pattern) return known.name;
        }
      }
    }
    std::string text = pre.dump();
    if (text.size() > 200) text = text.substr(0, 200) + "...";
    refuse(fmt::format("the pre_tokenizer {}", text));
  }

  void read_added() {
    const auto added = json_.find("added_tokens");
    if (added == json_.end() || !added->is_array()) return;
    for (const Json& token : *added) {
      if (!token.is_object() || !token.contains("id") || !token["id"].is_number_integer() ||
          !token.contains("content") || !token["content"].is_string()) {
        corrupt("'added_tokens' has an entry without id or content");
      }
      const int64_t id = token["id"].get<int64_t>();
      if (data_.unk_id && id == *data_.unk_id) continue;
      set_token(
          id, token["content"].get<std::string>(),
          token.value("special", false) ? GgufTokenType::kControl : GgufTokenType::kUserDefined);
    }
  }

  // A role of tokenizer_config.json: a text, or an object with its content.
  std::optional<int32_t> role(const char* key) const {
    const auto found = config_.find(key);
    if (found == config_.end()) return std::nullopt;
    const Json& text = found->is_object() ? found->value("content", Json()) : *found;
    if (!text.is_string()) return std::nullopt;
    const auto id = ids_.find(text.get<std::string>());
    return id == ids_.end() ? std::nullopt : std::optional(id->second);
  }

  void read_roles() {
    data_.bos_id = role("bos_token");
    if (!data_.bos_id) data_.bos_id = generation_.bos_token_id;
    data_.eos_id = role("eos_token");
    if (!data_.unk_id) data_.unk_id = role("unk_token");
    data_.pad_id = role("pad_token");
    // All that end a text: eos, and up to two more.
    std::vector<int32_t> ends;
    if (data_.eos_id) ends.push_back(*data_.eos_id);
    for (const int32_t id : generation_.eos_token_ids) {
      if (std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
    }
    if (ends.size() > 3) refuse(fmt::format("{} different end tokens", ends.size()));
    if (!ends.empty()) data_.eos_id = ends[0];
    if (ends.size() > 1) data_.eot_id = ends[1];
    if (ends.size() > 2) data_.eom_id = ends[2];
    const std::optional<Json> frame = template_processing(json_.value("post_processor", Json()));
    data_.add_bos = frame && !frame->empty() && frame->front().contains("SpecialToken");
    data_.add_eos = frame && !frame->empty() && frame->back().contains("SpecialToken");
  }

  // The "single" of the first TemplateProcessing, wherever it is.
  static std::optional<Json> template_processing(const Json& processor) {
    if (!processor.is_object()) return std::nullopt;
    if (processor.value("type", "") == "TemplateProcessing") {
      const Json single = processor.value("single", Json::array());
      return single.is_array() ? std::optional(single) : std::nullopt;
    }
    const Json inner = processor.value("processors", Json::array());
    for (const Json& part : inner) {
      if (auto found = template_processing(part)) return found;
    }
    return std::nullopt;
  }

  void read_chat_template() {
    const fs::path file = fs::path(folder_) / "chat_template.jinja";
    if (fs::exists(file)) {
      std::ifstream stream(file, std::ios::binary);
      data_.chat_template.assign(std::istreambuf_iterator<char>(stream), {});
      return;
    }
    const Json source = config_.value("chat_template", Json());
    if (source.is_string()) data_.chat_template = source.get<std::string>();
    if (!source.is_array()) return;
    for (const Json& named : source) {
      if (named.is_object() && named.value("name", "") == "default") {
        data_.chat_template = named.value("template", "");
      }
    }
  }

  std::string path_;
  std::string folder_;
  const GenerationConfig& generation_;
  Json json_;
  Json config_ = Json::object();
  GgufTokenizerData data_;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace

std::optional<GgufTokenizerData> read_hf_vocabulary(const std::string& folder, int64_t vocab_size,
                                                    const GenerationConfig& generation) {
  const fs::path root(folder);
  if (fs::exists(root / kTokenizerFile)) {
    return HfVocabulary(folder, generation).read(vocab_size);
  }
  for (const char* other : kOtherTokenizers) {
    if (!fs::exists(root / other)) continue;
    throw_error(ErrorCode::kUnsupported,
                "{}: only a tokenizer.json can be written to a GGUF file, and there is {} alone",
                folder, other);
  }
  return std::nullopt;
}

}  // namespace lanner
