// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lanner::cli {

// A piece of a text that is fed to the model at once: its tokens, of which those from score_from on
// are predicted by what stands before them in the window.
struct EvalWindow {
  std::vector<int32_t> tokens;
  size_t score_from = 1;  // at least 1
};

// Windows of `window` tokens that begin `stride` tokens apart, each with `prefix` (<s>) in front;
// every token of `ids` is scored once, in the window that has most before it, except what nothing
// stands before. 0 < stride <= window - prefix, and < window; throws Failure otherwise, and for too
// few ids.
std::vector<EvalWindow> eval_windows(std::span<const int32_t> ids, std::span<const int32_t> prefix,
                                     size_t window, size_t stride);

// -ln of the probability that softmax(logits) gives to `token`, in double. Logits that are no
// numbers give NaN.
double negative_log_likelihood(std::span<const float> logits, int32_t token);

// How two distributions of one position differ.
struct Divergence {
  double kl = 0;             // sum p ln(p / q), p the reference
  bool same_top1 = false;    // the most probable token is the same
  double reference_nll = 0;  // of the token that came
  double nll = 0;
};
Divergence compare(std::span<const float> reference, std::span<const float> logits, int32_t token);

// Mean and percentiles of what was compared so far.
class DivergenceTally {
 public:
  void add(const Divergence& divergence);
  int64_t tokens() const { return static_cast<int64_t>(kl_.size()); }
  double mean_kl() const;
  double p99_kl() const;
  double top1_agreement() const;
  double reference_perplexity() const;
  double perplexity() const;
  double perplexity_ratio() const { return perplexity() / reference_perplexity(); }

 private:
  std::vector<double> kl_;
  int64_t same_top1_ = 0;
  double reference_nll_ = 0, nll_ = 0;
};

}  // namespace lanner::cli
