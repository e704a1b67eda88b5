// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace lanner::server {

// Counters, gauges and histograms in the text format of Prometheus. All methods may be called from
// any thread. Every metric is a row of the table in metrics.cpp.
class Metrics {
 public:
  Metrics();
  // labels as they are printed: `route="/health",status="200"`.
  void count(const std::string& name, const std::string& labels = {}, double by = 1);
  void observe(const std::string& name, double value, const std::string& labels = {});
  void set(const std::string& name, const std::string& labels, double value);
  std::string text() const;
  double value(const std::string& name, const std::string& labels = {}) const;

 private:
  struct Series {
    double value = 0;
    std::vector<int64_t> buckets;
    int64_t observations = 0;
  };
  const struct MetricRow& row(const std::string& name) const;

  mutable std::mutex mutex_;
  std::map<std::string, std::map<std::string, Series>> series_;
};

enum class MetricType { kCounter, kGauge, kHistogram };
struct MetricRow {
  const char* name;
  MetricType type;
  const char* help;
  const std::vector<double>* buckets;  // of a histogram
};
// The table, for the documentation and its test.
const std::vector<MetricRow>& metric_rows();
// A value between quotes in the text format.
std::string label(const char* name, const std::string& value);

}  // namespace lanner::server
