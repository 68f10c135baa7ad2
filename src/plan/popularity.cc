#include "plan/popularity.h"

#include <fmt/format.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <limits>
#include <utility>

#include "error.h"
#include "text/ascii.h"

namespace nixery::plan {

namespace {

// A SAX handler, because only the reader knows the byte offset of a value of the wrong type.
class Handler : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Handler> {
 public:
  explicit Handler(Popularity& popularity) : popularity_(popularity) {}

  bool Default() { return false; }  // anything that is not an object of counts ends the parse
  bool StartObject() { return !std::exchange(inside_, true); }
  bool EndObject(rapidjson::SizeType) { return true; }
  bool Key(const char* text, rapidjson::SizeType length, bool) {
    key_ = package_name({text, length});
    return true;
  }
  bool Uint(unsigned count) { return Uint64(count); }
  bool Uint64(std::uint64_t count) {
    if (!inside_) return false;
    std::uint64_t& sum = popularity_[key_];
    sum = count > std::numeric_limits<std::uint64_t>::max() - sum ? std::numeric_limits<std::uint64_t>::max()
                                                                  : sum + count;
    return true;
  }

 private:
  Popularity& popularity_;
  std::string key_;
  bool inside_ = false;
};

}  // namespace

std::string_view package_name(std::string_view name) {
  for (std::size_t i = 0; i + 1 < name.size(); ++i) {
    if (name[i] == '-' && !text::is_letter(name[i + 1])) return name.substr(0, i);
  }
  return name;
}

Popularity parse_popularity(std::string_view text, std::string_view what) {
  Popularity popularity;
  Handler handler(popularity);
  rapidjson::MemoryStream bytes(text.data(), text.size());
  rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> stream(bytes);
  rapidjson::Reader reader;
  const auto result =
      reader.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(stream, handler);
  if (result.IsError()) {
    const char* reason = result.Code() == rapidjson::kParseErrorTermination
                             ? "must be an object of package names and counts"
                             : rapidjson::GetParseError_En(result.Code());
    throw Error(Failure::bad_config, fmt::format("{}: byte {}: {}", what, result.Offset(), reason));
  }
  return popularity;
}

}  // namespace nixery::plan
