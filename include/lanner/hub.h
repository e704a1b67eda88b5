// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lanner/config.h"

namespace lanner {

// Where models come from, and where they are kept: docs/pull.md. Empty: what the environment says.
struct HubOptions {
  std::string revision = "main";  // branch, tag or commit
  // Names of files to take, with * and ?, instead of what Lanner needs to run the model.
  std::vector<std::string> include = {};
  std::string url = {};        // LANNER_HUB_URL, else https://huggingface.co
  std::string cache_dir = {};  // LANNER_HUB_CACHE, else the cache that HF's own programs use
  std::string token = {};      // LANNER_HUB_TOKEN, else HF_TOKEN; only ever sent to `url`
  bool offline = false;        // no network: what the cache has
  int connections = 4;         // of one file at a time; range [1, 64]
};

struct PulledModel {
  std::string path;    // for LLM::load: a folder of the cache, or the GGUF file in it
  std::string commit;  // that the revision stood for
  int files = 0;
  int64_t bytes = 0;       // of all of them
  int64_t downloaded = 0;  // by this call
};

// Whether a text is the name of a model on a hub: OWNER/NAME.
bool is_hub_id(const std::string& text);

// Brings a model OWNER/NAME into the cache, in the layout of HF's own (models--OWNER--NAME with
// blobs, refs and snapshots): what is there is not fetched again, what broke off is resumed, and
// every file is held against the checksum that the hub lists. An exception of `progress` ends the
// work and is thrown here; what has come so far stays for the next time.
//
// Throws Error: kInvalidArgument for a bad name or option, a token without TLS; kNotFound for an
// unknown model, revision or file; kIo for a hub that cannot be reached or refuses (no token, too
// many requests), a full disk; kCorruptFile for a wrong checksum or a listing that makes no sense.
PulledModel pull_model(const std::string& id, const HubOptions& options = {},
                       const ProgressCallback& progress = {});

// The path of a model in the cache, without a look at the network; nothing if it is not there.
std::optional<std::string> find_pulled_model(const std::string& id, const HubOptions& options = {});

}  // namespace lanner
