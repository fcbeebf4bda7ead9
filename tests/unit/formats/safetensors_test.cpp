#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <numeric>

#include "support/reference_data.h"
#include "support/temporary_folder.h"

namespace krasis {
namespace {

std::string file_of(const std::string& header, std::size_t data_bytes) {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  return file + header + std::string(data_bytes, 'x');
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), "m.safetensors");
}

std::string error_of(const std::string& header, std::size_t data_bytes) {
  try {
    parse(file_of(header, data_bytes));
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string tensor(const std::string& name, const std::string& shape, int begin, int end,
                   const std::string& dtype = "BF16") {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

TEST(Safetensors, ReadsEntriesInTheOrderOfTheirBytes) {
  const SafetensorsHeader header =
      parse(file_of("{\"__metadata__\":{\"format\":\"pt\"}," + tensor("b", "[2,3]", 4, 16) + "," +
                        tensor("c", "[0,7]", 16, 16) + "," + tensor("a", "[]", 0, 4, "F32") + "} ",
                    16));
  ASSERT_EQ(header.entries.size(), 3U);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].dtype, DType::F32);
  EXPECT_EQ(header.entries[0].shape.rank(), 0U);
  EXPECT_EQ(header.entries[1].shape, (Shape{2, 3}));
  EXPECT_EQ(header.entries[1].end - header.entries[1].begin, 12U);
  EXPECT_EQ(header.entries[2].shape.count(), 0);
  EXPECT_EQ(header.metadata.at("format"), "pt");
}

TEST(Safetensors, NamesWhatIsWrongWithAHeader) {
  const std::string area = "safetensors: m.safetensors: ";
  EXPECT_EQ(error_of("{" + tensor("w", "[4]", 8, 0) + "}", 8),
            area + "\"w\": offsets 8..0 run backwards");
  EXPECT_EQ(error_of("{" + tensor("w", "[4]", 0, 8) + "}", 6),
            area + "\"w\": ends at byte 8 of 6; the file is cut off, download it again");
  EXPECT_EQ(error_of("{" + tensor("w", "[4]", 0, 6) + "}", 6),
            area + "\"w\": BF16 [4] does not fit in 6 bytes");
  EXPECT_EQ(error_of("{" + tensor("v", "[4]", 0, 8) + "," + tensor("w", "[4]", 6, 14) + "}", 14),
            area + "\"w\": starts at byte 6, within the tensor before it");
  EXPECT_EQ(error_of("{" + tensor("v", "[4]", 0, 8) + "," + tensor("w", "[4]", 10, 18) + "}", 18),
            area + "\"w\": starts at byte 10, which leaves a gap before it");
  EXPECT_EQ(error_of("{" + tensor("v", "[4]", 0, 8) + "}", 9),
            area + "has 1 bytes after its last tensor");
  EXPECT_EQ(error_of("{" + tensor("v", "[4]", 0, 8) + "," + tensor("v", "[4]", 8, 16) + "}", 16),
            area + "\"v\" occurs twice");
  EXPECT_EQ(error_of("{" + tensor("v", "[-4]", 0, 8) + "}", 8),
            area + "\"v\": shape [-4] is not a list of whole numbers");
  EXPECT_EQ(error_of("{" + tensor("v", "[4,[2]]", 0, 8) + "}", 8),
            area + "header is nested too deeply");
  EXPECT_EQ(error_of("[]", 0), area + "header does not start with '{'");
  EXPECT_EQ(error_of("{\"v\":{\"shape\":[],\"data_offsets\":[0,0]}}", 0),
            area + "\"v\": has no dtype");
  EXPECT_EQ(error_of("{\"v\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4.0]}}", 4),
            area + "\"v\": data_offsets are not whole numbers");
  EXPECT_EQ(error_of("{\"__metadata__\":{\"a\":1}}", 0),
            area + "\"__metadata__\": \"a\" is not a text");
}

TEST(Safetensors, RefusesLengthsThatTheFileDoesNotHave) {
  std::string file(8, '\0');
  file[0] = 9;
  EXPECT_THROW(parse(file + "{}"), Error);
  file[4] = 1;
  EXPECT_THROW(parse(file + "{}"), Error);
  EXPECT_THROW(parse("{}"), Error);
  EXPECT_THROW(parse(""), Error);
}

TEST(Safetensors, RefusesSizesThatOverflow) {
  EXPECT_NE(error_of("{" + tensor("v", "[4611686018427387904,4]", 0, 0) + "}", 0), "no error");
  EXPECT_NE(error_of("{" + tensor("v", "[9223372036854775807]", 0, 0) + "}", 0), "no error");
  EXPECT_NE(error_of("{" + tensor("v", "[18446744073709551615]", 0, 0) + "}", 0), "no error");
  EXPECT_NE(error_of("{\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":"
                     "[18446744073709551612,18446744073709551616]}}",
                     8),
            "no error");
}

TEST(Safetensors, RefusesAnUnknownTypeOnlyWhenAsked) {
  const test::TemporaryFolder folder;
  write_file_atomically(folder / "m.safetensors",
                        file_of("{" + tensor("v", "[2]", 0, 16, "F64") + "}", 16));
  const SafetensorsFile file(folder / "m.safetensors");
  ASSERT_NE(file.find("v"), nullptr);
  try {
    file.view(*file.find("v"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "safetensors: m.safetensors: \"v\": type F64 is not supported");
  }
}

TEST(Safetensors, WritesWhatItReads) {
  const test::TemporaryFolder folder;
  std::array<float, 6> floats{};
  std::iota(floats.begin(), floats.end(), 1.0F);
  std::array<std::int32_t, 3> ids{7, 8, 9};
  const std::array tensors{
      NamedTensor{"ids", view_of(std::span<const std::int32_t>(ids), Shape{3})},
      NamedTensor{"hidden.0", view_of(std::span<const float>(floats), Shape{2, 3})}};
  write_safetensors(folder / "out.safetensors", tensors, {{"format", "pt"}});

  const SafetensorsFile file(folder / "out.safetensors");
  EXPECT_EQ(file.header().entries.size(), 2U);
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  const TensorView hidden = file.view(*file.find("hidden.0"));
  EXPECT_EQ(hidden.shape(), (Shape{2, 3}));
  EXPECT_TRUE(std::ranges::equal(hidden.as<float>(), floats));
  EXPECT_TRUE(std::ranges::equal(file.view(*file.find("ids")).as<std::int32_t>(), ids));
  EXPECT_EQ(file.find("other"), nullptr);
}

TEST(Safetensors, RefusesToWriteTwoTensorsOfOneName) {
  const test::TemporaryFolder folder;
  std::array<float, 1> value{};
  const NamedTensor named{"a", view_of(std::span<const float>(value), Shape{1})};
  EXPECT_THROW(write_safetensors(folder / "out.safetensors", std::array{named, named}), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, ReadsFilesThatAnotherProgramWrote) {
  KRASIS_NEEDS_REFERENCE();
  for (const auto& model : std::filesystem::directory_iterator(test::reference_dir() / "models")) {
    const SafetensorsFile file(model.path() / "golden.safetensors");
    const SafetensorsEntry* entry = file.find("greedy_prompt_ids");
    ASSERT_NE(entry, nullptr) << model.path();
    EXPECT_EQ(entry->shape.count(), 100);
    EXPECT_GT(SafetensorsFile(model.path() / "model.safetensors").header().entries.size(), 19U);
  }
}

TEST(Safetensors, RefusesEveryTruncationOfAFile) {
  const std::string whole = file_of("{" + tensor("a", "[4]", 0, 8) + "}", 8);
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes)
    EXPECT_THROW(parse(whole.substr(0, bytes)), Error) << bytes;
  EXPECT_NO_THROW(parse(whole));
}

}  // namespace
}  // namespace krasis
