// The normalizers of a tokenizer file, applied to the text between added tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer_json.h"
#include "text/regex.h"

namespace krasis::text {

struct NormalizerScratch {
  std::string buffers[2];
  std::vector<std::int32_t> code_points;
};

class Normalizer {
 public:
  explicit Normalizer(const std::vector<NormalizerSpec>& specs);

  // The normalized form of `text` (valid UTF-8): `text` itself where nothing changes, else bytes in
  // `scratch` that live until the next call.
  std::string_view apply(std::string_view text, NormalizerScratch& scratch,
                         RegexScratch& regex) const;

  bool empty() const { return steps_.empty(); }

 private:
  struct Replace {
    Regex pattern;
    std::string content;
  };
  using Step = std::variant<UnicodeForm, LowercaseSpec, Replace, PrependSpec, StripSpec>;

  std::vector<Step> steps_;
};

}  // namespace krasis::text
