#include "text/utf8.h"

#include <cstring>

namespace krasis::utf8 {
namespace {

struct Lead {
  std::size_t length;  // 0: no sequence starts with this byte
  unsigned char low;   // bounds of the second byte, which exclude overlong forms, surrogates
  unsigned char high;  // and everything above U+10FFFF
};

Lead lead_of(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// How many bytes from the start are valid; stops at the first sequence that is not.
std::size_t valid_prefix(std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    while (at + 8 <= bytes.size()) {  // eight ASCII bytes at once
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, 8);
      if ((word & 0x8080808080808080ULL) != 0) break;
      at += 8;
    }
    if (at == bytes.size()) break;
    if (static_cast<unsigned char>(bytes[at]) < 0x80) {
      ++at;
      continue;
    }
    const Sequence sequence = next_sequence(bytes.substr(at));
    if (sequence.step != Step::Valid) break;
    at += sequence.length;
  }
  return at;
}

}  // namespace

Sequence next_sequence(std::string_view bytes) {
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first < 0x80) return {Step::Valid, 1};
  const Lead lead = lead_of(first);
  if (lead.length == 0) return {Step::Invalid, 1};
  if (bytes.size() == 1) return {Step::Incomplete, 1};
  const auto second = static_cast<unsigned char>(bytes[1]);
  if (second < lead.low || second > lead.high) return {Step::Invalid, 1};
  for (std::size_t i = 2; i < lead.length; ++i) {
    if (i == bytes.size()) return {Step::Incomplete, i};
    if (!is_continuation(bytes[i])) return {Step::Invalid, i};
  }
  return {Step::Valid, lead.length};
}

std::string_view make_valid(std::string_view bytes, std::string& buffer) {
  std::size_t good = valid_prefix(bytes);
  if (good == bytes.size()) return bytes;
  buffer.clear();
  while (!bytes.empty()) {
    buffer.append(bytes.substr(0, good));
    bytes.remove_prefix(good);
    if (bytes.empty()) break;
    buffer.append(kReplacement);
    bytes.remove_prefix(next_sequence(bytes).length);
    good = valid_prefix(bytes);
  }
  return buffer;
}

void append(std::string& text, char32_t code_point) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

void Repair::push(std::string_view bytes, std::string& out) {
  while (!pending_.empty() && !bytes.empty()) {
    pending_.push_back(bytes[0]);
    const Sequence sequence = next_sequence(pending_);
    if (sequence.step == Step::Incomplete) {
      bytes.remove_prefix(1);
      continue;
    }
    if (sequence.step == Step::Valid) {
      out.append(pending_);
      bytes.remove_prefix(1);
    } else {
      out.append(kReplacement);  // the byte just added is not part of it and is looked at again
    }
    pending_.clear();
  }
  while (!bytes.empty()) {
    const std::size_t good = valid_prefix(bytes);
    out.append(bytes.substr(0, good));
    bytes.remove_prefix(good);
    if (bytes.empty()) return;
    const Sequence sequence = next_sequence(bytes);
    if (sequence.step == Step::Incomplete) {
      pending_.assign(bytes);
      return;
    }
    out.append(kReplacement);
    bytes.remove_prefix(sequence.length);
  }
}

void Repair::finish(std::string& out) {
  if (!pending_.empty()) out.append(kReplacement);
  pending_.clear();
}

}  // namespace krasis::utf8
