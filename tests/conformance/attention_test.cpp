#include <numeric>

#include "conformance/support.h"

namespace krasis {
namespace {

using test::expect_near;
using test::for_each_backend;
using test::kUlp;
using test::normal_values;
using test::relative_error;
using test::rounded;
using test::StridedRows;

struct Shape {
  std::int64_t heads, kv_heads, key_dim, value_dim, page_tokens;
  bool latent;
};
constexpr Shape kShapes[] = {
    {1, 1, 4, 4, 16, false},      {6, 2, 33, 17, 7, false},   {16, 2, 64, 64, 64, false},
    {4, 4, 8, 40, 1, false},      {5, 1, 576, 512, 64, true}, {40, 1, 20, 11, 32, true},
    {8, 8, 128, 128, 256, false},
};

struct Sequence {
  std::int64_t rows, past;
};

// A cache filled with random numbers, with the sequences' pages strewn over it.
class Cache {
 public:
  Cache(const Shape& shape, DType dtype, const std::vector<Sequence>& sequences) {
    std::int64_t pages = 3;  // that nobody uses
    std::int64_t first_row = 1;
    for (const Sequence& sequence : sequences) {
      const std::int64_t length = sequence.past + sequence.rows;
      page_tables_.emplace_back(
          static_cast<std::size_t>((length + shape.page_tokens - 1) / shape.page_tokens));
      pages += static_cast<std::int64_t>(page_tables_.back().size());
    }
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(pages));
    std::iota(numbers.begin(), numbers.end(), 0);
    std::shuffle(numbers.begin(), numbers.end(), std::mt19937(5));
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      for (std::int32_t& page : page_tables_[s]) {
        page = numbers.back();
        numbers.pop_back();
      }
      segments.push_back({.first_row = first_row,
                          .rows = sequences[s].rows,
                          .past = sequences[s].past,
                          .slot = 0,
                          .pages = page_tables_[s]});
      first_row += sequences[s].rows + 1;  // a row in between belongs to nobody
    }
    tokens = first_row;
    const std::int64_t rows = pages * shape.kv_heads * shape.page_tokens;
    fill(keys_, rows * shape.key_dim, dtype, 1);
    if (!shape.latent) fill(values_, rows * shape.value_dim, dtype, 2);
    kv = {.keys = keys_.data(),
          .values = shape.latent ? nullptr : values_.data(),
          .dtype = dtype,
          .pages = pages,
          .page_tokens = shape.page_tokens,
          .kv_heads = shape.kv_heads,
          .key_dim = shape.key_dim,
          .value_dim = shape.value_dim};
  }
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all = keys_;
    all.insert(all.end(), values_.begin(), values_.end());
    return all;
  }

  PagedKv kv;
  std::vector<Segment> segments;
  std::int64_t tokens = 0;  // rows of the step

 private:
  static void fill(std::vector<std::byte>& bytes, std::int64_t count, DType dtype, unsigned seed) {
    for (const float value : normal_values(count, seed)) {
      const bf16 narrow = to_bf16(value);
      const auto* first = dtype == DType::F32 ? reinterpret_cast<const std::byte*>(&value)
                                              : reinterpret_cast<const std::byte*>(&narrow);
      bytes.insert(bytes.end(), first, first + size_of(dtype));
    }
  }
  std::vector<std::byte> keys_, values_;
  std::vector<std::vector<std::int32_t>> page_tables_;
};

void compare(const Shape& shape, DType dtype, const std::vector<Sequence>& sequences) {
  const Cache cache(shape, dtype, sequences);
  const std::int64_t rows = cache.tokens * shape.heads;
  StridedRows queries(rows, shape.key_dim, normal_values(rows * shape.key_dim, 3)),
      expected(rows, shape.value_dim,
               std::vector<float>(static_cast<std::size_t>(rows * shape.value_dim), 77));
  Attention op{.queries = queries.view(),
               .kv = cache.kv,
               .segments = cache.segments,
               .heads = shape.heads,
               .scale = 1 / std::sqrt(static_cast<float>(shape.key_dim)),
               .out = expected.view()};
  make_reference_ops()->attention(op);
  // A score is wrong by at most (key_dim / 4 + 16) half units of the sum of its terms' sizes, which
  // for normal numbers is 2 / pi * sqrt(key_dim) or, rarely, twice that; so is the logarithm of a
  // weight. The largest value is below 6; sums over tokens and chunks add less.
  const auto dim = static_cast<double>(shape.key_dim);
  const double tolerance = 2 * ((dim / 4 + 16) * std::sqrt(dim) + 64) * kUlp / 2;
  const std::vector<float> magnitude(static_cast<std::size_t>(rows * shape.value_dim), 6);
  for_each_backend([&](Ops& ops) {
    StridedRows actual(rows, shape.value_dim,
                       std::vector<float>(static_cast<std::size_t>(rows * shape.value_dim), 77));
    op.out = actual.view();
    ops.attention(op);
    expect_near(actual.values(), expected.values(), magnitude, rounded(tolerance));
    EXPECT_LT(relative_error(actual.values(), expected.values()), rounded(2e-6));
    EXPECT_TRUE(actual.gaps_untouched());
  });
}

TEST(Conformance, AttentionOfSmallSteps) {
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::F32, DType::BF16}) {
      SCOPED_TRACE("key_dim " + std::to_string(shape.key_dim));
      compare(shape, dtype, {{1, 0}});
      compare(shape, dtype, {{1, 37}, {0, 5}, {9, 0}, {3, 70}});
    }
  }
}

TEST(Conformance, AttentionOverSeveralChunks) {
  compare(kShapes[1], DType::F32, {{1, 600}});
  compare(kShapes[1], DType::BF16, {{40, 250}, {1, 255}, {1, 256}, {2, 511}});
  compare(kShapes[4], DType::BF16, {{3, 520}});
  compare(kShapes[2], DType::BF16, {{300, 0}});
}

TEST(Conformance, KvAppendIsExact) {
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::F32, DType::BF16}) {
      const std::vector<Sequence> sequences = {{1, 37}, {0, 5}, {9, 0}, {3, 70}};
      const Cache expected(shape, dtype, sequences);
      const std::int64_t rows = expected.tokens * shape.kv_heads;
      std::vector<float> values = normal_values(rows * shape.key_dim, 4);
      values[static_cast<std::size_t>(shape.key_dim * shape.kv_heads)] =
          std::numeric_limits<float>::quiet_NaN();
      StridedRows keys(rows, shape.key_dim, values),
          new_values(rows, shape.value_dim, normal_values(rows * shape.value_dim, 5));
      KvAppend op{.keys = keys.view(),
                  .values = shape.latent ? Rows() : Rows(new_values.view()),
                  .kv = expected.kv,
                  .segments = expected.segments};
      make_reference_ops()->kv_append(op);
      for_each_backend([&](Ops& ops) {
        const Cache actual(shape, dtype, sequences);
        op.kv = actual.kv;
        op.segments = actual.segments;
        ops.kv_append(op);
        EXPECT_EQ(actual.bytes(), expected.bytes());
      });
    }
  }
}

}  // namespace
}  // namespace krasis
