// Files of named tensors in the safetensors format: eight bytes that give the length of a JSON
// header, the header ({"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__"}),
// then the tensors' bytes, row-major, little-endian, without gaps.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "tensor/tensor.h"

namespace krasis {

struct SafetensorsEntry {
  std::string name;
  std::string dtype_name;      // as the file has it
  std::optional<DType> dtype;  // none: a type that this build does not know
  Shape shape;
  std::size_t begin, end;  // bytes within the file
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        // in the order of their bytes
  std::map<std::string, std::string> metadata;  // of "__metadata__"
};

// Reads and checks the header of a whole file. Throws Error(Corrupt) or Error(Unsupported)
// "safetensors: LABEL: ..." unless the entries have distinct names, sizes that fit type and shape,
// and follow each other without gap or overlap to the end of the file.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& label);

// A mapped file. Thread-safe.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  std::size_t bytes() const { return file_.bytes().size(); }
  std::int64_t modified_ns() const { return file_.modified_ns(); }
  const SafetensorsHeader& header() const { return header_; }
  bool contains(const std::byte* byte) const {  // an address within the mapping
    return !std::less<>()(byte, file_.bytes().data()) &&
           std::less<>()(byte, file_.bytes().data() + bytes());
  }

  const SafetensorsEntry* find(const std::string& name) const;  // nullptr: there is none

  // The tensor's bytes in the mapping, which need not be aligned for its type. Throws
  // Error(Unsupported) if this build does not know the type.
  TensorView view(const SafetensorsEntry& entry) const;

 private:
  MappedFile file_;
  SafetensorsHeader header_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

struct NamedTensor {
  std::string name;
  TensorView tensor;
};

// Writes a file through a temporary name. Throws Error(InvalidArgument) if two tensors have one
// name, Error(Io) as the file system says.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace krasis
