// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

#include <fmt/format.h>

#include "base/error.h"

namespace lanner::server {
namespace {

const std::vector<double> kSeconds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                      1,     2.5,  5,     10,   30,  60,   300};
const std::vector<double> kTokenSeconds = {0.005, 0.01, 0.02, 0.03, 0.05, 0.075,
                                           0.1,   0.15, 0.25, 0.5,  1,    2.5};
const std::vector<double> kTokens = {1, 8, 32, 128, 512, 1024, 2048, 4096, 8192, 16384, 32768};

const std::vector<MetricRow> kRows = {
    {"lanner_http_requests_total", MetricType::kCounter, "Answered requests by route and status",
     nullptr},
    {"lanner_http_request_seconds", MetricType::kHistogram,
     "Time from a request's first byte to its answer's last", &kSeconds},
    {"lanner_http_connections", MetricType::kGauge, "Open connections", nullptr},
    {"lanner_http_write_buffer_bytes", MetricType::kGauge,
     "Bytes of answers that clients have not taken yet", nullptr},
    {"lanner_limit_rejections_total", MetricType::kCounter, "Requests beyond a limit", nullptr},
    {"lanner_structured_output_refusals_total", MetricType::kCounter,
     "Forms that were malformed, not understood or beyond the compiler's limits", nullptr},
    {"lanner_slow_readers_total", MetricType::kCounter,
     "Clients dropped because they did not take their answer", nullptr},
    {"lanner_client_disconnects_total", MetricType::kCounter,
     "Requests whose client left before the answer was complete", nullptr},
    {"lanner_requests_running", MetricType::kGauge, "Sequences handed to the engine", nullptr},
    {"lanner_requests_waiting", MetricType::kGauge, "Requests that wait for a model", nullptr},
    {"lanner_queue_seconds", MetricType::kHistogram, "Time a request waited for the model",
     &kSeconds},
    {"lanner_time_to_first_token_seconds", MetricType::kHistogram,
     "From a request's first byte to its first token", &kSeconds},
    {"lanner_inter_token_seconds", MetricType::kHistogram, "Between two tokens of an answer",
     &kTokenSeconds},
    {"lanner_prompt_tokens_total", MetricType::kCounter, "Tokens of prompts", nullptr},
    {"lanner_generated_tokens_total", MetricType::kCounter, "Tokens generated", nullptr},
    {"lanner_cached_tokens_total", MetricType::kCounter, "Prompt tokens found in the prefix cache",
     nullptr},
    {"lanner_finished_total", MetricType::kCounter, "Finished answers by reason", nullptr},
    {"lanner_output_tokens", MetricType::kHistogram, "Tokens of an answer", &kTokens},
    {"lanner_model_ready", MetricType::kGauge, "1 when the model is loaded", nullptr},
    {"lanner_model_load_seconds", MetricType::kGauge, "Time the model took to load", nullptr},
    {"lanner_weight_bytes", MetricType::kGauge, "Bytes of packed weights", nullptr},
    {"lanner_kv_cache_bytes", MetricType::kGauge, "Bytes of the KV cache", nullptr},
    {"lanner_kv_blocks_total", MetricType::kGauge, "KV blocks there are", nullptr},
    {"lanner_kv_blocks_used", MetricType::kGauge, "KV blocks that running requests hold", nullptr},
    {"lanner_prefix_cache_lookups_total", MetricType::kCounter,
     "Prompt tokens looked up in the prefix cache", nullptr},
    {"lanner_prefix_cache_hits_total", MetricType::kCounter,
     "Prompt tokens found in the prefix cache", nullptr},
    {"lanner_prefix_cache_evictions_total", MetricType::kCounter,
     "Blocks dropped from the prefix cache", nullptr},
    {"lanner_draft_tokens_proposed_total", MetricType::kCounter, "Tokens proposed by speculation",
     nullptr},
    {"lanner_draft_tokens_accepted_total", MetricType::kCounter,
     "Proposed tokens the model agreed with", nullptr},
    {"lanner_draft_seconds_total", MetricType::kCounter, "Time of the draft model", nullptr},
    {"lanner_preemptions_total", MetricType::kCounter,
     "Sequences that gave up their KV blocks to others", nullptr},
    {"lanner_prefill_tokens_total", MetricType::kCounter, "Prompt tokens computed", nullptr},
    {"lanner_prefill_seconds_total", MetricType::kCounter, "Time of steps that computed prompts",
     nullptr},
    {"lanner_decode_tokens_total", MetricType::kCounter, "Tokens computed by decode steps",
     nullptr},
    {"lanner_decode_seconds_total", MetricType::kCounter, "Time of decode steps", nullptr},
    {"lanner_process_resident_bytes", MetricType::kGauge, "Resident memory of the process",
     nullptr},
    {"lanner_process_cpu_seconds_total", MetricType::kCounter, "CPU time of the process", nullptr},
    {"lanner_process_open_fds", MetricType::kGauge, "Open file descriptors", nullptr},
    {"lanner_uptime_seconds", MetricType::kGauge, "Time since the server started", nullptr},
};

std::string in_braces(const std::string& labels, const std::string& more = {}) {
  const std::string all = labels.empty() || more.empty() ? labels + more : labels + "," + more;
  return all.empty() ? "" : "{" + all + "}";
}

const char* type_name(MetricType type) {
  return type == MetricType::kCounter ? "counter"
         : type == MetricType::kGauge ? "gauge"
                                      : "histogram";
}

}  // namespace

const std::vector<MetricRow>& metric_rows() { return kRows; }

std::string label(const char* name, const std::string& value) {
  std::string text = std::string(name) + "=\"";
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text + '"';
}

Metrics::Metrics() {
  // A histogram without labels shows its zeros from the start.
  for (const MetricRow& row : kRows) series_[row.name];
}

const MetricRow& Metrics::row(const std::string& name) const {
  for (const MetricRow& row : kRows) {
    if (name == row.name) return row;
  }
  throw_error(ErrorCode::kInternal, "metric {} is not in the table", name);
}

void Metrics::count(const std::string& name, const std::string& labels, double by) {
  const std::lock_guard lock(mutex_);
  row(name);
  series_[name][labels].value += by;
}

void Metrics::set(const std::string& name, const std::string& labels, double value) {
  const std::lock_guard lock(mutex_);
  row(name);
  series_[name][labels].value = value;
}

void Metrics::observe(const std::string& name, double value, const std::string& labels) {
  const std::lock_guard lock(mutex_);
  const std::vector<double>& bounds = *row(name).buckets;
  Series& series = series_[name][labels];
  series.buckets.resize(bounds.size());
  for (size_t i = 0; i < bounds.size(); ++i) {
    if (value <= bounds[i]) ++series.buckets[i];
  }
  series.value += value;
  ++series.observations;
}

double Metrics::value(const std::string& name, const std::string& labels) const {
  const std::lock_guard lock(mutex_);
  const auto found = series_.find(name);
  if (found == series_.end()) return 0;
  const auto series = found->second.find(labels);
  if (series == found->second.end()) return 0;
  return row(name).type == MetricType::kHistogram ? static_cast<double>(series->second.observations)
                                                  : series->second.value;
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const MetricRow& row : kRows) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", row.name, row.help, row.name,
                        type_name(row.type));
    for (const auto& [labels, series] : series_.at(row.name)) {
      if (row.type != MetricType::kHistogram) {
        text += fmt::format("{}{} {}\n", row.name, in_braces(labels), series.value);
        continue;
      }
      for (size_t i = 0; i < row.buckets->size(); ++i) {
        const std::string bound = fmt::format("le=\"{}\"", (*row.buckets)[i]);
        text +=
            fmt::format("{}_bucket{} {}\n", row.name, in_braces(labels, bound), series.buckets[i]);
      }
      text += fmt::format("{}_bucket{} {}\n", row.name, in_braces(labels, "le=\"+Inf\""),
                          series.observations);
      text += fmt::format("{}_sum{} {}\n{}_count{} {}\n", row.name, in_braces(labels), series.value,
                          row.name, in_braces(labels), series.observations);
    }
  }
  return text;
}

}  // namespace lanner::server
