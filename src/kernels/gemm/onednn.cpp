// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/onednn.h"

#include <string>
#include <string_view>
#include <unordered_map>

#include <oneapi/dnnl/dnnl.hpp>

namespace lanner {

struct OneDnnMatmul::Impl {
  using Memory = dnnl::memory;

  Impl(Memory::data_type x_type, Memory::data_type w_type, Memory::data_type y_type, int64_t m,
       int64_t n, int64_t k)
      : engine(dnnl::engine::kind::cpu, 0),
        stream(engine),
        description(engine, Memory::desc({m, k}, x_type, Memory::format_tag::ab),
                    Memory::desc({k, n}, w_type, Memory::format_tag::any),
                    Memory::desc({m, n}, y_type, Memory::format_tag::ab)),
        matmul(description),
        x(description.src_desc(), engine),
        w(description.weights_desc(), engine),
        y(description.dst_desc(), engine),
        name(description.impl_info_str()) {
    // Values: memory that nobody has written is one page of zeros.
    for (Memory* memory : {&x, &w, &y}) {
      auto* bytes = static_cast<unsigned char*>(memory->get_data_handle());
      const size_t size = memory->get_desc().get_size();
      for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<unsigned char>(i % 32);
    }
  }

  dnnl::engine engine;
  mutable dnnl::stream stream;
  dnnl::matmul::primitive_desc description;
  dnnl::matmul matmul;
  Memory x, w, y;
  std::string name;
};

OneDnnMatmul::OneDnnMatmul(Type type, int64_t m, int64_t n, int64_t k) {
  using DataType = dnnl::memory::data_type;
  switch (type) {
    case Type::kF32:
      impl_ = std::make_unique<Impl>(DataType::f32, DataType::f32, DataType::f32, m, n, k);
      break;
    case Type::kBf16:
      impl_ = std::make_unique<Impl>(DataType::bf16, DataType::bf16, DataType::f32, m, n, k);
      break;
    case Type::kInt8:
      impl_ = std::make_unique<Impl>(DataType::u8, DataType::s8, DataType::s32, m, n, k);
      break;
  }
}

OneDnnMatmul::~OneDnnMatmul() = default;
OneDnnMatmul::OneDnnMatmul(OneDnnMatmul&&) noexcept = default;

void OneDnnMatmul::run() const {
  impl_->matmul.execute(
      impl_->stream,
      {{DNNL_ARG_SRC, impl_->x}, {DNNL_ARG_WEIGHTS, impl_->w}, {DNNL_ARG_DST, impl_->y}});
  impl_->stream.wait();
}

int64_t OneDnnMatmul::weight_bytes() const {
  return static_cast<int64_t>(impl_->w.get_desc().get_size());
}

const char* OneDnnMatmul::implementation() const { return impl_->name.c_str(); }

bool OneDnnMatmul::is_reference() const {
  return std::string_view(impl_->name).find("ref") != std::string_view::npos;
}

}  // namespace lanner
