// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace lanner {

// A model's folder in a cache of the layout that huggingface_hub has, so that both use one:
//
//   models--OWNER--NAME/blobs/<checksum>                 the files' contents
//   models--OWNER--NAME/refs/<revision>                  the commit that it stands for
//   models--OWNER--NAME/snapshots/<commit>/<path>        links to blobs
//
// Names are checked by the caller (hub_names.h). The methods that write throw Error(kIo).
class HubCache {
 public:
  HubCache(const std::string& root, const std::string& id);

  const std::string& folder() const { return folder_; }
  std::string blob(const std::string& checksum) const;
  std::string snapshot(const std::string& commit) const;
  // Of a branch, tag or commit; nothing if the cache does not know.
  std::optional<std::string> commit_of(const std::string& revision) const;

  void make_folders() const;
  // Lets a snapshot have the blob under a path.
  void link(const std::string& commit, const std::string& path, const std::string& checksum) const;
  void set_commit(const std::string& revision, const std::string& commit) const;

 private:
  std::string folder_;
};

}  // namespace lanner
