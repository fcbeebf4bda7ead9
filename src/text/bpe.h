// The byte-pair encoding model: a word starts as its characters and, as long as some neighbours
// form a merge, the pair of the lowest rank (the leftmost of several) becomes one symbol. Ids equal
// those of the tokenizers library's BPE model, including unknown characters and byte fallback.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer_json.h"
#include "text/string_index.h"

namespace krasis::text {

// Words already encoded, and buffers: what one thread writes to. Holds at most about 5 MB between
// calls, however long the words were.
class BpeScratch {
 public:
  BpeScratch();
  void trim();  // gives back what a very long word took

 private:
  friend class BpeModel;

  static constexpr std::size_t kEntries = std::size_t{1} << 16;
  static constexpr std::size_t kMaxBytes = 26;
  static constexpr std::size_t kMaxIds = 9;
  struct alignas(64) Entry {  // one cache line
    std::uint8_t bytes = 0;   // 0: empty
    std::uint8_t ids = 0;
    char word[kMaxBytes] = {};
    std::int32_t id[kMaxIds] = {};
  };
  struct Symbol {
    std::int32_t id;
    std::int32_t previous;  // index or -1
    std::int32_t next;
    bool alive;
  };

  std::unique_ptr<Entry[]> entries_;  // [kEntries], an entry's place is its word's hash
  std::string mapped_;
  std::vector<std::int32_t> ids_;
  std::vector<std::uint32_t> ranks_;
  std::vector<Symbol> symbols_;
  std::vector<std::uint64_t> heap_;
};

class BpeModel {
 public:
  // `name` is the file's, for Error(Corrupt) where a merge names a token that is not there.
  BpeModel(const BpeSpec& spec, const std::string& name);

  // Appends the ids of one word (valid UTF-8) to `ids`; with `byte_level` the word is first written
  // in the byte-level alphabet. Thread-safe with a scratch per thread.
  void encode(std::string_view word, bool byte_level, BpeScratch& scratch,
              std::vector<std::int32_t>& ids) const;

  std::optional<std::int32_t> id_of(std::string_view token) const;
  std::size_t vocabulary_size() const { return vocabulary_.size(); }

 private:
  static constexpr std::uint32_t kNoRank = 0xFFFFFFFF;
  static constexpr std::size_t kDirect = 0x180;  // code points looked up in a plain array
  struct MergeSlot {
    std::int32_t left = -1;  // -1: empty
    std::int32_t right = -1;
    std::uint32_t rank = kNoRank;
  };

  void add_merges(const BpeSpec& spec, const std::string& name);
  void insert_merge(std::int32_t left, std::int32_t right, std::uint32_t rank);
  std::uint32_t rank_of(std::int32_t left, std::int32_t right) const;
  void encode_whole(std::string_view word, BpeScratch& scratch,
                    std::vector<std::int32_t>& ids) const;
  void start_symbols(std::string_view word, std::vector<std::int32_t>& ids) const;
  std::optional<std::int32_t> symbol_of(std::string_view character, bool first, bool last) const;
  bool append_bytes(std::string_view character, std::vector<std::int32_t>& ids) const;
  void merge_short(std::vector<std::int32_t>& ids, std::vector<std::uint32_t>& ranks) const;
  void merge_long(BpeScratch& scratch) const;

  StringIndex vocabulary_;
  std::vector<std::int32_t> direct_;       // [kDirect], id of a one-character token or -1
  std::vector<std::int32_t> byte_tokens_;  // [256], id of <0xNN> or -1
  std::vector<MergeSlot> merges_;          // open addressing, a power of two
  std::vector<std::int32_t> merged_;       // [rank], the id that the merge makes
  std::optional<std::int32_t> unk_;
  std::string prefix_;
  std::string suffix_;
  bool fuse_unk_;
  bool byte_fallback_;
  bool ignore_merges_;
  bool unk_is_missing_ = false;  // unk_token is named and not in the vocabulary
};

}  // namespace krasis::text
