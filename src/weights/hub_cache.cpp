// SPDX-License-Identifier: Apache-2.0
#include "weights/hub_cache.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "base/error.h"
#include "base/hub_layout.h"
#include "weights/hub_names.h"

namespace lanner {
namespace {

namespace fs = std::filesystem;

void make_folder(const fs::path& path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) {
    throw_error(ErrorCode::kIo, "{}: cannot be made: {}", path.string(), failure.message());
  }
}

// Puts a new thing in the place of an old one in one step.
void replace(const fs::path& made, const fs::path& target) {
  if (std::rename(made.c_str(), target.c_str()) != 0) {
    throw_error(ErrorCode::kIo, "{}: cannot be written: {}", target.string(), std::strerror(errno));
  }
}

}  // namespace

HubCache::HubCache(const std::string& root, const std::string& id) {
  folder_ = (fs::path(root) / hub_folder_name(id)).string();
}

std::string HubCache::blob(const std::string& checksum) const {
  return (fs::path(folder_) / "blobs" / checksum).string();
}

std::string HubCache::snapshot(const std::string& commit) const {
  return (fs::path(folder_) / "snapshots" / commit).string();
}

std::optional<std::string> HubCache::commit_of(const std::string& revision) const {
  std::string commit;
  std::ifstream file(fs::path(folder_) / "refs" / revision);
  if (file >> commit && is_hex(commit, 40)) return commit;
  std::error_code failure;
  if (is_hex(revision, 40) && fs::is_directory(snapshot(revision), failure)) return revision;
  return std::nullopt;
}

void HubCache::make_folders() const {
  for (const char* name : {"blobs", "refs", "snapshots"}) make_folder(fs::path(folder_) / name);
}

void HubCache::link(const std::string& commit, const std::string& path,
                    const std::string& checksum) const {
  const fs::path place = fs::path(snapshot(commit)) / path;
  make_folder(place.parent_path());
  std::string up = "../../";
  for (auto n = std::ranges::count(path, '/'); n > 0; --n) up += "../";
  const fs::path made = place.parent_path() / fmt::format(".{}.{}", checksum, ::getpid());
  std::error_code failure;
  fs::remove(made, failure);
  fs::create_symlink(up + "blobs/" + checksum, made, failure);
  if (failure) {
    throw_error(ErrorCode::kIo, "{}: cannot be linked: {}", place.string(), failure.message());
  }
  replace(made, place);
}

void HubCache::set_commit(const std::string& revision, const std::string& commit) const {
  const fs::path place = fs::path(folder_) / "refs" / revision;
  make_folder(place.parent_path());
  const fs::path made = place.string() + fmt::format(".{}.partial", ::getpid());
  std::ofstream(made, std::ios::trunc) << commit << std::flush;
  replace(made, place);
}

}  // namespace lanner
