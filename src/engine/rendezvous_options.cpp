// SPDX-License-Identifier: Apache-2.0
#include "engine/rendezvous_options.h"

#include "base/error.h"
#include "distributed/job_secret.h"
#include "lanner/llm.h"

namespace lanner {

RendezvousOptions to_options(const RendezvousConfig& config) {
  check_argument(config.timeout > 0 && config.timeout <= 1e6,
                 "the ranks' time to meet is {} s; expected more than 0, at most 1000000",
                 config.timeout);
  RendezvousOptions options{
      .address = parse_host_port(config.address),
      .secret = config.secret,
      .rank = config.rank,
      .size = config.ranks,
      .version = version(),
      .timeout = std::chrono::milliseconds(static_cast<int64_t>(config.timeout * 1e3))};
  if (config.on_listening) {
    options.on_listening = [on_listening = config.on_listening](uint16_t port) {
      on_listening(port);
    };
  }
  return options;
}

std::string make_job_secret() { return make_secret(); }

}  // namespace lanner
