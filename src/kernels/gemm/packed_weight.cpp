// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/packed_weight.h"

#include <algorithm>
#include <cstring>

#include <emmintrin.h>

#include "base/checked.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/repack.h"
#include "kernels/gemm/stored_weight.h"

namespace lanner {
namespace {

bool has_four_bits(DType source) {
  return source == DType::kQ2K || source == DType::kQ3K || source == DType::kQ4_0 ||
         source == DType::kQ4_1 || source == DType::kQ4K;
}

// What a part is packed as: a plain type, a packing, or its own block type. Blocks that have as few
// bits as the packing stay as they are, exactly.
DType target_dtype(DType source, std::optional<DType> wanted) {
  if (source == DType::kI32 || source == DType::kI4 || source == DType::kI4Asym) {
    throw_error(ErrorCode::kUnsupported, "[gemm] cannot multiply by {} weights", source);
  }
  if (is_packing(source)) {
    if (!wanted || *wanted == source) return source;
    throw_error(ErrorCode::kUnsupported,
                "[gemm] weights stored as {} cannot be packed as {}: only as they are (auto)",
                source, *wanted);
  }
  if (!wanted) {
    if (source == DType::kU8) return DType::kF32;
    return source == DType::kI8 ? DType::kW8A8 : source;
  }
  switch (*wanted) {
    case DType::kI8:
      return source == DType::kQ8_0 || source == DType::kQ5_0 ? source : *wanted;
    case DType::kI4:
    case DType::kI4Asym:
      return has_four_bits(source) ? source : *wanted;
    case DType::kF32:
    case DType::kF16:
    case DType::kBf16:
    case DType::kI4G64:
    case DType::kI4G128:
    case DType::kW8A8:
      return *wanted;
    default:
      if (*wanted == source) return source;
      throw_error(ErrorCode::kUnsupported, "[gemm] cannot convert {} weights to {}", source,
                  *wanted);
  }
}

GemmGroup target_group(DType target) {
  switch (target) {
    case DType::kF32:
      return GemmGroup::kF32;
    case DType::kF16:
      return GemmGroup::kF16;
    case DType::kBf16:
      return GemmGroup::kBf16;
    case DType::kW8A8:
      return GemmGroup::kI8;
    case DType::kI8:
      return GemmGroup::kI8G32;
    case DType::kI4:
      return GemmGroup::kI4G32;
    case DType::kI4G64:
      return GemmGroup::kI4G64;
    case DType::kI4G128:
      return GemmGroup::kI4G128;
    case DType::kI4Asym:
      return GemmGroup::kI4G32M;
    default:
      return block_group(target);
  }
}

// Of a part, read by one thread, before it says so.
constexpr int64_t kReportBytes = int64_t{2} << 20;

// Panels start on cache lines: fp16 panels of odd k would not.
int64_t panel_bytes(int64_t k, const GemmLayout& layout) {
  const int64_t blocks = ceil_div(k, layout.k_block);
  return round_up(checked_mul<int64_t>(blocks, layout.block_bytes, "packed weight"),
                  static_cast<int64_t>(Buffer::kAlignment));
}

// rows[r][words] to [words][16], each word XORed with `flip`: four values of int8, two of bf16, one
// of fp32. Whole groups of four rows go through 4 x 4 transposes, which every x86-64 CPU has.
void interleave_words(const std::byte* const* rows, int num_rows, int64_t words, uint32_t flip,
                      std::byte* panel) {
  constexpr int kSide = 4;
  constexpr int kWordBytes = 4;
  auto* out = reinterpret_cast<uint32_t*>(panel);
  const int64_t whole_words = words / kSide * kSide;
  const int whole_rows = num_rows / kSide * kSide;
  const __m128i flips = _mm_set1_epi32(static_cast<int>(flip));
  for (int64_t w = 0; w < whole_words; w += kSide) {
    for (int r = 0; r < whole_rows; r += kSide) {
      const auto load = [&](int i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[r + i] + w * kWordBytes));
      };
      const auto store = [&](int i, __m128i x) {
        _mm_store_si128(reinterpret_cast<__m128i*>(out + (w + i) * kPanelRows + r),
                        _mm_xor_si128(x, flips));
      };
      const __m128i ab_low = _mm_unpacklo_epi32(load(0), load(1));
      const __m128i cd_low = _mm_unpacklo_epi32(load(2), load(3));
      const __m128i ab_high = _mm_unpackhi_epi32(load(0), load(1));
      const __m128i cd_high = _mm_unpackhi_epi32(load(2), load(3));
      store(0, _mm_unpacklo_epi64(ab_low, cd_low));
      store(1, _mm_unpackhi_epi64(ab_low, cd_low));
      store(2, _mm_unpacklo_epi64(ab_high, cd_high));
      store(3, _mm_unpackhi_epi64(ab_high, cd_high));
    }
  }
  const auto copy_words = [&](int r, int64_t begin) {
    for (int64_t w = begin; w < words; ++w) {
      uint32_t value;  // the source may lie at any address
      std::memcpy(&value, rows[r] + w * kWordBytes, sizeof value);
      out[w * kPanelRows + r] = value ^ flip;
    }
  };
  for (int r = 0; r < whole_rows; ++r) copy_words(r, whole_words);
  for (int r = whole_rows; r < num_rows; ++r) copy_words(r, 0);
}

// rows[r][k] to [k / kPack][16][kPack] for 16-bit values that do not pair up to words.
template <int kPack>
void interleave_halves(const std::byte* const* rows, int num_rows, int64_t k, std::byte* panel) {
  constexpr int64_t kChunk = 64;  // of all rows stays in the first-level cache
  auto* out = reinterpret_cast<uint16_t*>(panel);
  for (int64_t begin = 0; begin < k; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, k);
    for (int r = 0; r < num_rows; ++r) {
      for (int64_t i = begin; i < end; ++i) {
        uint16_t value;  // the source may lie at any address
        std::memcpy(&value, rows[r] + i * 2, sizeof value);
        out[(i / kPack * kPanelRows + r) * kPack + i % kPack] = value;
      }
    }
  }
}

// Packs panels of one part; one per thread, for its scratch.
class PanelPacker {
 public:
  PanelPacker(const Tensor& part, DType target, const GemmSegment& segment, Isa isa)
      : part_(part), target_(target), segment_(segment), k_(part.size(1)) {
    const DType source = part.dtype();
    if (source != target_ && (!is_block_dtype(target_) || is_packing(target_))) {
      quantize_ = select_gemm_quantizer(target_group(target_), isa);
    }
    if (quantize_ != nullptr) {
      to_fp32_ = select_convert(source, DType::kF32, isa);
      fp32_ = Buffer(static_cast<size_t>(kChunk * 4 * kPanelRows));
      return;
    }
    if (target_ == DType::kW8A8) {
      int8_ = Buffer(static_cast<size_t>(segment_.k_padded * kPanelRows));
      if (source == DType::kI8 || source == DType::kW8A8) return;
    }
    if (source == target_) return;
    if (source != DType::kF32) {
      to_fp32_ = select_convert(source, DType::kF32, isa);
      fp32_ = Buffer(static_cast<size_t>(k_ * 4 * kPanelRows));
    }
    if (target_ == DType::kF16 || target_ == DType::kBf16) {
      from_fp32_ = select_convert(DType::kF32, target_, isa);
      narrow_ = Buffer(static_cast<size_t>(k_ * 2 * kPanelRows));
    }
  }

  void pack(int64_t panel) {
    const int64_t row_begin = panel * kPanelRows;
    const int num_rows = static_cast<int>(std::min<int64_t>(kPanelRows, segment_.n - row_begin));
    std::byte* out = segment_.data + panel * segment_.panel_bytes;
    if (quantize_ != nullptr) return quantize(num_rows, row_begin, out);
    const std::byte* rows[kPanelRows] = {};
    for (int r = 0; r < num_rows; ++r) rows[r] = source_row(row_begin + r, r);
    switch (target_) {
      case DType::kF32:
        return interleave_words(rows, num_rows, k_, 0, out);
      case DType::kF16:
        return interleave_halves<1>(rows, num_rows, k_, out);
      case DType::kBf16:
        if (k_ % 2 != 0) return interleave_halves<2>(rows, num_rows, k_, out);
        return interleave_words(rows, num_rows, k_ / 2, 0, out);
      case DType::kW8A8:
        return pack_int8(rows, num_rows, row_begin, out);
      default:
        break;
    }
    for (int r = 0; r < num_rows; ++r) repack_block_row(target_, rows[r], k_, r, out);
  }

 private:
  // Values of a row quantised at a time: whole blocks of every source and every layout, and sixteen
  // rows of them stay in the first-level cache.
  static constexpr int64_t kChunk = 256;

  // Every row of the panel, those past the last zero, in chunks of k.
  void quantize(int num_rows, int64_t row_begin, std::byte* out) {
    auto* w = fp32_.as<float>();
    const GemmLayout& layout = segment_.layout;
    if (num_rows < kPanelRows) std::fill(w, w + kChunk * kPanelRows, 0.0f);
    for (int64_t begin = 0; begin < k_; begin += kChunk) {
      const int64_t count = std::min(kChunk, k_ - begin);
      const int64_t padded = round_up(count, int64_t{layout.k_block});
      const int64_t offset = dtype_bytes(part_.dtype(), begin);
      for (int r = 0; r < num_rows; ++r) {
        float* row = w + r * kChunk;
        to_fp32_(part_.raw_row(row_begin + r) + offset, count, row);
        std::fill(row + count, row + padded, 0.0f);
      }
      quantize_(w, kChunk, padded, out + begin / layout.k_block * layout.block_bytes);
    }
  }

  // Row `row` of the part in the type that packing wants, in slot r of the scratch if converted.
  const std::byte* source_row(int64_t row, int r) {
    const std::byte* source = part_.raw_row(row);
    if (to_fp32_ != nullptr) {
      std::byte* converted = fp32_.data() + r * k_ * 4;
      to_fp32_(source, k_, converted);
      source = converted;
    }
    if (from_fp32_ != nullptr) {
      std::byte* converted = narrow_.data() + r * k_ * 2;
      from_fp32_(source, k_, converted);
      source = converted;
    }
    return source;
  }

  // Rows of fp32, quantised as a row of activations is, or of int8 as they are (stored_weight.h).
  void pack_int8(const std::byte* const* rows, int num_rows, int64_t row_begin, std::byte* out) {
    const int64_t k_padded = segment_.k_padded;
    const std::byte* quantized[kPanelRows] = {};
    for (int r = 0; r < num_rows; ++r) {
      auto* q = int8_.as<int8_t>() + r * k_padded;
      float* scale = segment_.scale + row_begin + r;
      if (part_.dtype() == DType::kI8 || part_.dtype() == DType::kW8A8) {
        std::memcpy(q, rows[r], static_cast<size_t>(k_));
        std::memset(q + k_, 0, static_cast<size_t>(k_padded - k_));
        *scale = 1.0f;
        if (part_.dtype() == DType::kW8A8) std::memcpy(scale, rows[r] + k_, sizeof *scale);
      } else {
        int32_t unused_offset;
        segment_.kernel->activations->quantize_row(reinterpret_cast<const float*>(rows[r]), k_,
                                                   k_padded, 0, q, scale, &unused_offset);
      }
      quantized[r] = reinterpret_cast<const std::byte*>(q);
    }
    // Four values of a row are one word; 128 is added to each.
    interleave_words(quantized, num_rows, k_padded / 4, 0x80808080u, out);
  }

  const Tensor& part_;
  DType target_;
  const GemmSegment& segment_;
  int64_t k_;
  GemmQuantizeFn quantize_ = nullptr;  // to a layout of groups
  ConvertRowFn to_fp32_ = nullptr;
  ConvertRowFn from_fp32_ = nullptr;
  Buffer fp32_;    // [16, k], or [16, kChunk]
  Buffer narrow_;  // [16, k]
  Buffer int8_;    // [16, k_padded]
};

}  // namespace

GemmPanelRange PackedWeight::Impl::thread_panels(int thread, int num_threads) const {
  const auto boundary = [&](int index) {
    int64_t left = static_cast<int64_t>(data.size()) / num_threads * index;
    if (index == num_threads) return panels;
    for (const GemmSegment& s : segments) {
      if (left < s.panels * s.panel_bytes) return s.panel_begin + left / s.panel_bytes;
      left -= s.panels * s.panel_bytes;
    }
    return panels;
  };
  return {boundary(thread), boundary(thread + 1)};
}

PackedWeight::PackedWeight() : impl_(std::make_unique<Impl>()) {}
PackedWeight::~PackedWeight() = default;
PackedWeight::PackedWeight(PackedWeight&&) noexcept = default;
PackedWeight& PackedWeight::operator=(PackedWeight&&) noexcept = default;

int64_t PackedWeight::n() const { return impl_->n; }
int64_t PackedWeight::k() const { return impl_->k; }
int64_t PackedWeight::bytes() const {
  return static_cast<int64_t>(impl_->data.size() + impl_->scales.size());
}
const char* PackedWeight::kernel_name() const { return impl_->kernel_name.c_str(); }

PackedWeight PackedWeight::pack(std::span<const Tensor> parts, const GemmPackOptions& options,
                                ThreadPool& threads) {
  return Impl::pack(parts, options, {}, threads);
}

PackedWeight pack_weight(std::span<const Tensor> parts, const GemmPackOptions& options,
                         const PackReader& on_read, ThreadPool& threads) {
  return PackedWeight::Impl::pack(parts, options, on_read, threads);
}

PackedWeight PackedWeight::Impl::pack(std::span<const Tensor> parts, const GemmPackOptions& options,
                                      const PackReader& on_read, ThreadPool& threads) {
  check_argument(!parts.empty(), "[gemm] a weight needs at least one part");
  PackedWeight weight;
  Impl& impl = *weight.impl_;
  std::vector<DType> targets;
  int64_t data_bytes = 0;
  int64_t scale_rows = 0;
  for (const Tensor& part : parts) {
    check_argument(part.shape().rank() == 2, "[gemm] weight is {}, expected [n, k]", part.shape());
    check_argument(part.size(1) == parts[0].size(1) && part.size(1) > 0,
                   "[gemm] weight is {}, expected [n, {}]", part.shape(), parts[0].size(1));
    check_argument(part.dtype() != DType::kW8A8 ||
                       part.row_stride() >= part.size(1) + static_cast<int64_t>(sizeof(float)),
                   "[gemm] w8a8 rows of {} values have no scale behind them", part.size(1));
    const DType target = target_dtype(part.dtype(), options.dtype);
    const GemmGroup group = target_group(target);
    GemmSegment s;
    s.kernel = options.kernel != nullptr ? options.kernel : &select_gemm(group, options.isa);
    LANNER_CHECK(s.kernel->group == group);
    s.layout = gemm_layout(group);
    s.n = part.size(0);
    s.n_begin = impl.n;
    s.k_padded = round_up(part.size(1), s.layout.k_block);
    s.panels = ceil_div(s.n, kPanelRows);
    s.panel_begin = impl.panels;
    s.panel_bytes = panel_bytes(part.size(1), s.layout);
    impl.n = checked_add(impl.n, s.n, "rows of a packed weight");
    impl.panels += s.panels;
    data_bytes = checked_add(data_bytes, checked_mul(s.panels, s.panel_bytes, "packed weight"),
                             "packed weight");
    if (group == GemmGroup::kI8) scale_rows += s.panels * kPanelRows;
    targets.push_back(target);
    if (impl.kernel_name.empty()) {
      impl.kernel_name = s.kernel->name;
    } else if (s.kernel != impl.segments.back().kernel) {
      impl.kernel_name += std::string("+") + s.kernel->name;
    }
    impl.segments.push_back(s);
  }
  impl.k = parts[0].size(1);
  impl.data = Buffer(static_cast<size_t>(data_bytes));
  impl.scales = Buffer(static_cast<size_t>(scale_rows) * sizeof(float));

  std::byte* data = impl.data.data();
  auto* scale = impl.scales.as<float>();
  for (GemmSegment& s : impl.segments) {
    s.data = data;
    data += s.panels * s.panel_bytes;
    if (s.layout.bits == 0 && s.layout.zero_point != 0) {
      s.scale = scale;
      scale += s.panels * kPanelRows;
    }
  }
  threads.run([&](int thread) {
    const GemmPanelRange range = impl.thread_panels(thread, threads.size());
    for (size_t i = 0; i < impl.segments.size(); ++i) {
      const GemmSegment& s = impl.segments[i];
      const int64_t begin = std::max(range.begin - s.panel_begin, int64_t{0});
      const int64_t end = std::min(range.end - s.panel_begin, s.panels);
      if (begin >= end) continue;
      PanelPacker packer(parts[i], targets[i], s, options.isa);
      const int64_t panels_per_report =
          std::max<int64_t>(kReportBytes / (parts[i].row_bytes() * kPanelRows), 1);
      for (int64_t first = begin; first < end; first += panels_per_report) {
        const int64_t last = std::min(first + panels_per_report, end);
        for (int64_t panel = first; panel < last; ++panel) packer.pack(panel);
        if (!on_read) continue;
        on_read(parts[i].raw_row(first * kPanelRows),
                parts[i].raw_row(std::min(last * kPanelRows, s.n) - 1) +
                    dtype_bytes(parts[i].dtype(), parts[i].size(1)));
      }
    }
  });
  return weight;
}

DType packed_dtype(DType source, std::optional<DType> wanted) {
  return target_dtype(source, wanted);
}

int64_t packed_weight_bytes(int64_t n, int64_t k, DType source, std::optional<DType> dtype) {
  const GemmGroup group = target_group(target_dtype(source, dtype));
  const int64_t panels = ceil_div(n, kPanelRows);
  const int64_t data = checked_mul(panels, panel_bytes(k, gemm_layout(group)), "packed weight");
  const int64_t scale_bytes = group == GemmGroup::kI8 ? panels * kPanelRows * 4 : 0;
  return checked_add(data, scale_bytes, "packed weight");
}

}  // namespace lanner
