// SPDX-License-Identifier: Apache-2.0
#include "lanner/hub.h"

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "base/env.h"
#include "base/error.h"
#include "weights/hub_cache.h"
#include "weights/hub_client.h"
#include "weights/hub_download.h"
#include "weights/hub_names.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

// The options with what the environment says where they are empty.
HubOptions completed(HubOptions options) {
  const Environment environment = read_environment();
  if (options.url.empty()) options.url = environment.hub_url;
  if (options.cache_dir.empty()) options.cache_dir = environment.hub_cache;
  if (options.token.empty()) options.token = environment.hub_token;
  return options;
}

bool is_top_level(const HubFile& file) { return file.path.find('/') == std::string::npos; }

// What Lanner reads of a model folder beside the weights, and the licence.
bool is_companion(const std::string& path) {
  if (path.starts_with("LICENSE") || path.starts_with("NOTICE")) return true;
  constexpr const char* kExtensions[] = {".json", ".model", ".tiktoken", ".txt", ".jinja"};
  return std::ranges::any_of(kExtensions, [&](const char* end) { return path.ends_with(end); });
}

std::vector<HubFile> matching(const HubListing& listing, const std::vector<std::string>& patterns) {
  std::vector<HubFile> files;
  for (const std::string& pattern : patterns) {
    const size_t before = files.size();
    for (const HubFile& file : listing.files) {
      const bool taken =
          std::ranges::any_of(files, [&](const HubFile& other) { return other.path == file.path; });
      if (!taken && fits_pattern(pattern, file.path)) files.push_back(file);
    }
    if (files.size() == before) {
      throw_error(ErrorCode::kNotFound, "no file of the model is called '{}'", pattern);
    }
  }
  return files;
}

// The files that Lanner needs: the safetensors and what belongs to them, or the one GGUF file.
std::vector<HubFile> needed(const std::string& id, const HubListing& listing) {
  std::vector<HubFile> tensors, companions, ggufs;
  bool has_model_files = false, has_pickle = false;
  for (const HubFile& file : listing.files) {
    if (!is_top_level(file)) continue;
    if (file.path.ends_with(".safetensors")) {
      tensors.push_back(file);
      has_model_files = has_model_files || file.path.starts_with("model");
    } else if (file.path.ends_with(".gguf")) {
      ggufs.push_back(file);
    } else if (is_companion(file.path)) {
      companions.push_back(file);
    }
    has_pickle = has_pickle || file.path.ends_with(".bin") || file.path.ends_with(".pth");
  }
  if (!tensors.empty()) {
    // Some models have their weights twice, under names of their makers too.
    if (has_model_files) {
      std::erase_if(tensors, [](const HubFile& file) { return !file.path.starts_with("model"); });
    }
    companions.insert(companions.end(), tensors.begin(), tensors.end());
    return companions;
  }
  if (ggufs.size() == 1) return ggufs;
  if (ggufs.size() > 1) {
    std::vector<std::string> names;
    for (const HubFile& file : ggufs) names.push_back(file.path);
    throw_error(ErrorCode::kInvalidArgument, "{}: choose a file with --include: {}", id,
                fmt::join(names, ", "));
  }
  throw_error(ErrorCode::kUnsupported, "{}: has neither safetensors nor GGUF files{}", id,
              has_pickle ? ", only pickle weights, which can run code when they are read" : "");
}

// What LLM::load takes: the snapshot's folder, or the one GGUF file in it.
std::optional<std::string> model_in(const std::string& snapshot) {
  std::vector<std::string> ggufs;
  bool has_tensors = false;
  std::error_code failure;
  for (fs::directory_iterator it(snapshot, failure), end; !failure && it != end;
       it.increment(failure)) {
    std::error_code gone;
    if (!fs::exists(it->path(), gone)) continue;  // a link to what was removed
    if (it->path().extension() == ".gguf") ggufs.push_back(it->path().string());
    has_tensors = has_tensors || it->path().extension() == ".safetensors";
  }
  if (has_tensors && fs::exists(fs::path(snapshot) / "config.json", failure)) return snapshot;
  if (ggufs.size() == 1) return ggufs[0];
  return std::nullopt;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void check_space(const std::string& folder, int64_t bytes) {
  std::error_code failure;
  const fs::space_info space = fs::space(folder, failure);
  if (failure || space.available > static_cast<uintmax_t>(bytes)) return;
  throw_error(ErrorCode::kIo, "{}: the disk has {} MiB left, {} MiB are missing of the model",
              folder, space.available >> 20, bytes >> 20);
}

}  // namespace

std::optional<std::string> find_pulled_model(const std::string& id, const HubOptions& given) {
  if (!is_hub_id(id)) return std::nullopt;
  const HubOptions options = completed(given);
  check_hub_revision(options.revision);
  const HubCache cache(options.cache_dir, id);
  const std::optional<std::string> commit = cache.commit_of(options.revision);
  return commit ? model_in(cache.snapshot(*commit)) : std::nullopt;
}

PulledModel pull_model(const std::string& id, const HubOptions& given,
                       const ProgressCallback& progress) {
  check_hub_id(id);
  const HubOptions options = completed(given);
  check_hub_revision(options.revision);
  check_argument(options.connections >= 1 && options.connections <= 64,
                 "connections must be 1 to 64, not {}", options.connections);
  const HubCache cache(options.cache_dir, id);
  if (options.offline || read_environment().hub_offline) {
    const auto path = find_pulled_model(id, options);
    if (!path) {
      throw_error(ErrorCode::kNotFound,
                  "{}: not in the cache ({}), and the network is not to be used", id,
                  cache.folder());
    }
    return {.path = *path, .commit = cache.commit_of(options.revision).value_or("")};
  }
  const Url hub = parse_url(options.url);
  check_argument(options.token.empty() || hub.address.tls || is_loopback(hub.address.host),
                 "{}: a token would travel without encryption; use https", options.url);
  std::atomic<bool> stop{false};
  const HubClient client(hub, options.token, stop);
  const HubListing listing = client.list(id, options.revision);
  const std::vector<HubFile> files =
      options.include.empty() ? needed(id, listing) : matching(listing, options.include);

  PulledModel pulled{.path = {}, .commit = listing.commit};
  std::vector<HubFile> missing;
  int64_t missing_bytes = 0;
  for (const HubFile& file : files) {
    ++pulled.files;
    pulled.bytes += file.size;
    std::error_code failure;
    const auto there = fs::file_size(cache.blob(file.checksum), failure);
    if (!failure && there == static_cast<uintmax_t>(file.size)) continue;
    missing.push_back(file);
    missing_bytes += file.size;
  }
  cache.make_folders();
  check_space(cache.folder(), missing_bytes);
  for (const HubFile& file : missing) {
    const auto on_progress = [&](int64_t bytes) {
      if (progress) {
        progress(file.path.c_str(), pulled.bytes - missing_bytes + pulled.downloaded + bytes,
                 pulled.bytes);
      }
    };
    download_hub_file(client,
                      {.id = id,
                       .commit = listing.commit,
                       .file = file,
                       .target = cache.blob(file.checksum),
                       .connections = options.connections},
                      stop, on_progress);
    pulled.downloaded += file.size;
  }
  for (const HubFile& file : files) cache.link(listing.commit, file.path, file.checksum);
  cache.set_commit(options.revision, listing.commit);
  pulled.path = model_in(cache.snapshot(listing.commit)).value_or(cache.snapshot(listing.commit));
  return pulled;
}

}  // namespace lanner
