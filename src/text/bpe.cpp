#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <functional>
#include <xxhash.h>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

// Up to this many symbols a plain search for the best pair beats a heap.
constexpr std::size_t kShortWord = 48;
// A buffer that grew beyond this is given back after the call.
constexpr std::size_t kKeptElements = std::size_t{1} << 16;

std::size_t hash_pair(std::int32_t left, std::int32_t right) {
  const std::uint64_t key = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                            static_cast<std::uint32_t>(right);
  return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL) >> 32);  // Fibonacci hashing
}

template <class Vector>
void trim_buffer(Vector& buffer) {
  if (buffer.capacity() > kKeptElements) Vector().swap(buffer);
}

}  // namespace

BpeScratch::BpeScratch() : entries_(std::make_unique<Entry[]>(kEntries)) {}

void BpeScratch::trim() {
  trim_buffer(mapped_);
  trim_buffer(ids_);
  trim_buffer(ranks_);
  trim_buffer(symbols_);
  trim_buffer(heap_);
}

BpeModel::BpeModel(const BpeSpec& spec, const std::string& name)
    : direct_(kDirect, -1),
      byte_tokens_(256, -1),
      prefix_(spec.continuing_subword_prefix),
      suffix_(spec.end_of_word_suffix),
      fuse_unk_(spec.fuse_unk),
      byte_fallback_(spec.byte_fallback),
      ignore_merges_(spec.ignore_merges) {
  std::size_t bytes = 0;
  for (const VocabularyEntry& entry : spec.vocabulary) bytes += entry.token.size();
  vocabulary_.reserve(spec.vocabulary.size(), bytes);
  for (const VocabularyEntry& entry : spec.vocabulary) vocabulary_.insert(entry.token, entry.id);
  for (std::size_t c = 0; c < kDirect; ++c) {
    std::string character;
    utf8::append(character, static_cast<char32_t>(c));
    direct_[c] = vocabulary_.find(character).value_or(-1);
  }
  for (std::size_t b = 0; b < 256; ++b)
    byte_tokens_[b] = vocabulary_.find(fmt::format("<0x{:02X}>", b)).value_or(-1);
  if (spec.unk_token) {
    unk_ = vocabulary_.find(*spec.unk_token);
    unk_is_missing_ = !unk_;
  }
  add_merges(spec, name);
}

void BpeModel::add_merges(const BpeSpec& spec, const std::string& name) {
  merges_.resize(std::bit_ceil(std::max<std::size_t>(16, spec.merges.size() * 2)));
  merged_.reserve(spec.merges.size());
  std::string joined;
  for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const MergeSpec& merge = spec.merges[rank];
    const auto need = [&](std::string_view token) {
      const std::optional<std::int32_t> id = vocabulary_.find(token);
      if (id) return *id;
      throw Error(ErrorCode::Corrupt,
                  fmt::format("tokenizer: {}: model.merges[{}]: \"{}\" is not in the vocabulary",
                              name, rank, token));
    };
    const std::int32_t left = need(merge.left);
    const std::int32_t right = need(merge.right);
    if (merge.right.size() < prefix_.size()) {
      throw Error(
          ErrorCode::Corrupt,
          fmt::format("tokenizer: {}: model.merges[{}]: \"{}\" is shorter than the prefix \"{}\"",
                      name, rank, merge.right, prefix_));
    }
    joined.assign(merge.left).append(std::string_view(merge.right).substr(prefix_.size()));
    merged_.push_back(need(joined));
    insert_merge(left, right, static_cast<std::uint32_t>(rank));
  }
}

void BpeModel::insert_merge(std::int32_t left, std::int32_t right, std::uint32_t rank) {
  std::size_t slot = hash_pair(left, right) & (merges_.size() - 1);
  while (merges_[slot].left >= 0 && (merges_[slot].left != left || merges_[slot].right != right))
    slot = (slot + 1) & (merges_.size() - 1);
  merges_[slot] = {left, right, rank};  // of two equal pairs the later one counts
}

std::uint32_t BpeModel::rank_of(std::int32_t left, std::int32_t right) const {
  std::size_t slot = hash_pair(left, right) & (merges_.size() - 1);
  while (merges_[slot].left >= 0) {
    if (merges_[slot].left == left && merges_[slot].right == right) return merges_[slot].rank;
    slot = (slot + 1) & (merges_.size() - 1);
  }
  return kNoRank;
}

std::optional<std::int32_t> BpeModel::id_of(std::string_view token) const {
  return vocabulary_.find(token);
}

void BpeModel::encode(std::string_view word, bool byte_level, BpeScratch& scratch,
                      std::vector<std::int32_t>& ids) const {
  if (word.empty()) return;
  BpeScratch::Entry* entry = nullptr;
  if (word.size() <= BpeScratch::kMaxBytes) {
    const std::uint64_t hash = XXH3_64bits(word.data(), word.size());
    entry = &scratch.entries_[hash & (BpeScratch::kEntries - 1)];
    if (entry->bytes == word.size() && std::memcmp(entry->word, word.data(), word.size()) == 0) {
      ids.insert(ids.end(), entry->id, entry->id + entry->ids);
      return;
    }
  }
  const std::size_t before = ids.size();
  if (byte_level) {
    scratch.mapped_.clear();
    append_byte_level(word, scratch.mapped_);
    encode_whole(scratch.mapped_, scratch, ids);
  } else {
    encode_whole(word, scratch, ids);
  }
  const std::size_t added = ids.size() - before;
  if (entry == nullptr || added > BpeScratch::kMaxIds) return;
  entry->bytes = static_cast<std::uint8_t>(word.size());
  entry->ids = static_cast<std::uint8_t>(added);
  std::memcpy(entry->word, word.data(), word.size());
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end(), entry->id);
}

void BpeModel::encode_whole(std::string_view word, BpeScratch& scratch,
                            std::vector<std::int32_t>& ids) const {
  if (ignore_merges_) {
    if (const std::optional<std::int32_t> id = vocabulary_.find(word)) {
      ids.push_back(*id);
      return;
    }
  }
  scratch.ids_.clear();
  start_symbols(word, scratch.ids_);
  if (scratch.ids_.size() <= kShortWord) {
    merge_short(scratch.ids_, scratch.ranks_);
  } else {
    merge_long(scratch);
  }
  ids.insert(ids.end(), scratch.ids_.begin(), scratch.ids_.end());
}

// The symbols before any merge. An unknown character stays pending until a known one or the end
// comes, as in the reference: bytes of a fallback do not end a run of unknowns.
void BpeModel::start_symbols(std::string_view word, std::vector<std::int32_t>& ids) const {
  bool pending_unk = false;
  for (std::size_t at = 0; at < word.size();) {
    const utf8::CodePoint c = utf8::decode(word.data() + at);
    const std::string_view character = word.substr(at, c.length);
    const bool first = at == 0;
    at += c.length;
    const std::optional<std::int32_t> id = symbol_of(character, first, at == word.size());
    if (id) {
      if (pending_unk) ids.push_back(*unk_);
      pending_unk = false;
      ids.push_back(*id);
      continue;
    }
    if (byte_fallback_ && append_bytes(character, ids)) continue;
    if (unk_is_missing_) {
      throw Error(
          ErrorCode::Corrupt,
          fmt::format("tokenizer: \"{}\" needs the unk_token, which is not in the vocabulary",
                      character));
    }
    if (!unk_) continue;  // the reference drops what it does not know
    if (pending_unk && !fuse_unk_) ids.push_back(*unk_);
    pending_unk = true;
  }
  if (pending_unk) ids.push_back(*unk_);
}

std::optional<std::int32_t> BpeModel::symbol_of(std::string_view character, bool first,
                                                bool last) const {
  const bool prefixed = !first && !prefix_.empty();
  const bool suffixed = last && !suffix_.empty();
  if (prefixed || suffixed) {
    return vocabulary_.find((prefixed ? prefix_ : "") + std::string(character) +
                            (suffixed ? suffix_ : ""));
  }
  if (const char32_t c = utf8::decode(character.data()).value; c < kDirect) {
    if (direct_[c] < 0) return std::nullopt;
    return direct_[c];
  }
  return vocabulary_.find(character);
}

bool BpeModel::append_bytes(std::string_view character, std::vector<std::int32_t>& ids) const {
  const auto known = [this](char b) { return byte_tokens_[static_cast<unsigned char>(b)] >= 0; };
  if (!std::all_of(character.begin(), character.end(), known)) return false;
  for (const char b : character) ids.push_back(byte_tokens_[static_cast<unsigned char>(b)]);
  return true;
}

void BpeModel::merge_short(std::vector<std::int32_t>& ids,
                           std::vector<std::uint32_t>& ranks) const {
  if (ids.size() < 2) return;
  ranks.resize(ids.size() - 1);  // ranks[i] is of ids[i] and ids[i + 1]
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) ranks[i] = rank_of(ids[i], ids[i + 1]);
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == kNoRank) return;
    const auto at = static_cast<std::size_t>(best - ranks.begin());
    ids[at] = merged_[*best];
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    ranks.erase(best);
    if (at < ranks.size()) ranks[at] = rank_of(ids[at], ids[at + 1]);
    if (at > 0) ranks[at - 1] = rank_of(ids[at - 1], ids[at]);
  }
}

// As merge_short for scratch.ids_ of any length, in n log n: a heap of (rank, position), whose
// entries may be out of date and are checked when they come up.
void BpeModel::merge_long(BpeScratch& scratch) const {
  std::vector<BpeScratch::Symbol>& symbols = scratch.symbols_;
  std::vector<std::uint64_t>& heap = scratch.heap_;
  std::vector<std::int32_t>& ids = scratch.ids_;
  const auto count = static_cast<std::int32_t>(ids.size());
  const auto symbol = [&symbols](std::int32_t i) -> BpeScratch::Symbol& {
    return symbols[static_cast<std::size_t>(i)];
  };
  const auto entry_of = [&](std::int32_t i) -> std::optional<std::uint64_t> {
    const std::uint32_t rank = rank_of(symbol(i).id, symbol(symbol(i).next).id);
    if (rank == kNoRank) return std::nullopt;
    return static_cast<std::uint64_t>(rank) << 32 | static_cast<std::uint32_t>(i);
  };
  const auto push = [&](std::int32_t i) {
    const std::optional<std::uint64_t> entry = entry_of(i);
    if (!entry) return;
    heap.push_back(*entry);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  symbols.clear();
  heap.clear();
  for (std::int32_t i = 0; i < count; ++i)
    symbols.push_back({ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, true});
  for (std::int32_t i = 0; i + 1 < count; ++i) {
    if (const std::optional<std::uint64_t> entry = entry_of(i)) heap.push_back(*entry);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    const std::uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto at = static_cast<std::int32_t>(top & 0xFFFFFFFF);
    BpeScratch::Symbol& left = symbol(at);
    if (!left.alive || left.next < 0 || entry_of(at) != top) continue;
    BpeScratch::Symbol& right = symbol(left.next);
    left.id = merged_[static_cast<std::size_t>(top >> 32)];
    right.alive = false;
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).previous = at;
    if (left.previous >= 0) push(left.previous);
    if (left.next >= 0) push(at);
  }
  ids.clear();
  for (std::int32_t i = 0; i >= 0; i = symbol(i).next) ids.push_back(symbol(i).id);
}

}  // namespace krasis::text
