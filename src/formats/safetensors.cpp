#include "formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/file_system.h"
#include "formats/json_problem.h"

namespace krasis {
namespace {

using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library
constexpr int kHeaderDepth = 3;                         // file object, tensor object, array
constexpr std::size_t kAlignment = 8;  // of the first tensor, so that mapped values can be read

class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& label) : file_(file), label_(label) {}

  SafetensorsHeader read() {
    const std::string_view text = header_text();
    const json header = parse(text);
    data_start_ = kLengthBytes + text.size();
    SafetensorsHeader result;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        result.metadata = metadata_of(value);
      } else {
        result.entries.push_back(entry_of(name, value));
      }
    }
    std::ranges::sort(result.entries, [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    check_layout(result.entries);
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& text, ErrorCode code = ErrorCode::Corrupt) const {
    throw Error(code, "safetensors: " + label_ + ": " + text);
  }
  [[noreturn]] void fail(const std::string& name, const std::string& text) const {
    fail("\"" + name + "\": " + text);
  }

  std::string_view header_text() const {
    if (file_.size() < kLengthBytes)
      fail("has " + std::to_string(file_.size()) + " bytes, too few for a header");
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < kLengthBytes; ++i)
      length |= std::to_integer<std::uint64_t>(file_[i]) << (8 * i);
    if (length > kMaxHeaderBytes) {
      fail("header of " + std::to_string(length) + " bytes, at most " +
           std::to_string(kMaxHeaderBytes) + " are allowed; is this a safetensors file?");
    }
    if (length > file_.size() - kLengthBytes) {
      fail("header of " + std::to_string(length) + " bytes in a file of " +
           std::to_string(file_.size()) + "; download it again");
    }
    return {reinterpret_cast<const char*>(file_.data()) + kLengthBytes,
            static_cast<std::size_t>(length)};
  }

  json parse(std::string_view text) const {
    if (text.empty() || text.front() != '{') fail("header does not start with '{'");
    std::set<std::string> names, keys;
    const auto check = [&](int depth, json::parse_event_t event, json& value) {
      if (depth >= kHeaderDepth && (event == json::parse_event_t::object_start ||
                                    event == json::parse_event_t::array_start)) {
        fail("header is nested too deeply");
      }
      if (event != json::parse_event_t::key) return true;
      const auto& key = value.get_ref<const std::string&>();
      if (depth == 1) keys.clear();
      if (!(depth == 1 ? names : keys).insert(key).second) fail("\"" + key + "\" occurs twice");
      return true;
    };
    try {
      json header = json::parse(text, check);
      if (!header.is_object()) fail("header is not an object");
      return header;
    } catch (const json::exception& error) {
      fail("header " + json_problem(text, error));
    }
  }

  std::map<std::string, std::string> metadata_of(const json& value) const {
    std::map<std::string, std::string> result;
    if (!value.is_object()) fail("__metadata__ is not an object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail("__metadata__", "\"" + key + "\" is not a text");
      result.emplace(key, text.get<std::string>());
    }
    return result;
  }

  SafetensorsEntry entry_of(const std::string& name, const json& value) const {
    if (!value.is_object()) fail(name, "is not an object");
    const auto dtype = value.find("dtype");
    const auto shape = value.find("shape");
    const auto offsets = value.find("data_offsets");
    if (dtype == value.end() || !dtype->is_string()) fail(name, "has no dtype");
    if (shape == value.end() || !shape->is_array()) fail(name, "has no shape");
    if (offsets == value.end() || !offsets->is_array() || offsets->size() != 2)
      fail(name, "has no data_offsets of two numbers");
    const std::size_t begin = offset_of(name, offsets->at(0));
    const std::size_t end = offset_of(name, offsets->at(1));
    if (begin > end) {
      fail(name,
           "offsets " + std::to_string(begin) + ".." + std::to_string(end) + " run backwards");
    }
    const std::size_t available = file_.size() - data_start_;
    if (end > available) {
      fail(name, "ends at byte " + std::to_string(end) + " of " + std::to_string(available) +
                     "; the file is cut off, download it again");
    }
    SafetensorsEntry entry{.name = name,
                           .dtype_name = dtype->get<std::string>(),
                           .dtype = std::nullopt,
                           .shape = shape_of(name, *shape),
                           .begin = data_start_ + begin,
                           .end = data_start_ + end};
    entry.dtype = known_type(entry.dtype_name);
    check_size(entry);
    return entry;
  }

  std::size_t offset_of(const std::string& name, const json& value) const {
    if (!value.is_number_unsigned()) fail(name, "data_offsets are not whole numbers");
    return value.get<std::size_t>();
  }

  Shape shape_of(const std::string& name, const json& value) const {
    std::vector<std::int64_t> dims;
    for (const json& dim : value) {
      if (!dim.is_number_unsigned() || dim.get<std::uint64_t>() > kMaxDim)
        fail(name, "shape " + value.dump() + " is not a list of whole numbers");
      dims.push_back(dim.get<std::int64_t>());
    }
    try {
      return Shape(std::span<const std::int64_t>(dims));
    } catch (const Error& error) {
      fail("\"" + name + "\": " + error.what(), ErrorCode::Unsupported);
    }
  }

  static std::optional<DType> known_type(const std::string& name) {
    try {
      return dtype_named(name);
    } catch (const Error&) {
      return std::nullopt;  // refused only if somebody asks for the tensor
    }
  }

  void check_size(const SafetensorsEntry& entry) const {
    if (!entry.dtype) return;
    std::uint64_t needed = 0;
    const bool overflow = __builtin_mul_overflow(static_cast<std::uint64_t>(entry.shape.count()),
                                                 size_of(*entry.dtype), &needed);
    if (overflow || needed != entry.end - entry.begin) {
      fail(entry.name, entry.dtype_name + " " + entry.shape.to_string() + " does not fit in " +
                           std::to_string(entry.end - entry.begin) + " bytes");
    }
  }

  void check_layout(const std::vector<SafetensorsEntry>& entries) const {
    std::size_t expected = data_start_;
    for (const SafetensorsEntry& entry : entries) {
      if (entry.begin != expected) {
        fail(entry.name, "starts at byte " + std::to_string(entry.begin - data_start_) +
                             (entry.begin < expected ? ", within the tensor before it"
                                                     : ", which leaves a gap before it"));
      }
      expected = entry.end;
    }
    if (expected != file_.size()) {
      fail("has " + std::to_string(file_.size() - expected) + " bytes after its last tensor");
    }
  }

  static constexpr auto kMaxDim =
      static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

  std::span<const std::byte> file_;
  const std::string& label_;
  std::size_t data_start_ = 0;
};

std::string header_text_of(std::span<const NamedTensor> tensors,
                           const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const NamedTensor& named : tensors) {
    if (header.contains(named.name)) {
      throw Error(ErrorCode::InvalidArgument,
                  "safetensors: two tensors are named \"" + named.name + "\"");
    }
    json shape = json::array();
    for (std::size_t axis = 0; axis < named.tensor.shape().rank(); ++axis)
      shape.push_back(named.tensor.shape()[axis]);
    const std::size_t end = offset + named.tensor.bytes();
    header[named.name] = {{"dtype", name_of(named.tensor.dtype())},
                          {"shape", shape},
                          {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  return text;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& label) {
  return Reader(file, label).read();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), header_(parse_safetensors_header(file_.bytes(), path.filename().string())) {
  for (std::size_t i = 0; i < header_.entries.size(); ++i)
    by_name_.emplace(header_.entries[i].name, i);
}

const SafetensorsEntry* SafetensorsFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &header_.entries[found->second];
}

TensorView SafetensorsFile::view(const SafetensorsEntry& entry) const {
  if (!entry.dtype) {
    throw Error(ErrorCode::Unsupported, "safetensors: " + path().filename().string() + ": \"" +
                                            entry.name + "\": type " + entry.dtype_name +
                                            " is not supported");
  }
  return {file_.bytes().data() + entry.begin, *entry.dtype, entry.shape};
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string text = header_text_of(tensors, metadata);
  std::array<std::byte, kLengthBytes> length{};
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length[i] = static_cast<std::byte>(text.size() >> (8 * i));
  AtomicFile file(FileSystem::real(), path);
  file.write(length, 0);
  file.write(std::as_bytes(std::span(text)), kLengthBytes);
  std::uint64_t offset = kLengthBytes + text.size();
  for (const NamedTensor& named : tensors) {
    file.write({named.tensor.data(), named.tensor.bytes()}, offset);
    offset += named.tensor.bytes();
  }
  file.commit();
}

}  // namespace krasis
