#include "layer/tar.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "text/utf8.h"

namespace nixery::layer {

namespace {

// A ustar header by its offsets (POSIX.1-1988, "Extended tar format").
class Header {
 public:
  void text(std::size_t at, std::string_view value) { value.copy(&bytes_[at], value.size()); }

  // `digits` octal digits and a NUL.
  void octal(std::size_t at, std::size_t digits, std::uint64_t value) {
    for (std::size_t i = digits; i-- > 0; value >>= 3) bytes_[at + i] = static_cast<char>('0' + (value & 7));
  }

  std::string_view seal() {
    text(148, "        ");
    std::uint64_t sum = 0;
    for (const char c : bytes_) sum += static_cast<unsigned char>(c);
    octal(148, 6, sum);
    bytes_[154] = '\0';
    return {bytes_.data(), bytes_.size()};
  }

 private:
  std::array<char, tar_block> bytes_{};
};

constexpr std::size_t name_max = 100;
constexpr std::size_t prefix_max = 155;
constexpr std::uint64_t size_limit = std::uint64_t{1} << 33;  // 11 octal digits
constexpr std::uint32_t id_limit = std::uint32_t{1} << 21;    // 7 octal digits

struct SplitName {
  std::string_view prefix, name;
};

std::optional<SplitName> split(std::string_view name) {
  if (name.size() <= name_max) return SplitName{"", name};
  // The shortest prefix that leaves a name which fits. The slash that ends a directory's name cannot be the place.
  const std::size_t slash = name.substr(0, name.size() - 1).find('/', name.size() - name_max - 1);
  if (slash == name.npos || slash == 0 || slash > prefix_max) return std::nullopt;
  return SplitName{name.substr(0, slash), name.substr(slash + 1)};
}

// "<length> <key>=<value>\n", where the length counts its own digits.
void add_pax_record(std::string& records, std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + 1;
  while (rest + fmt::formatted_size("{}", length) != length) length = rest + fmt::formatted_size("{}", length);
  records += fmt::format("{} {}=", length, key);
  records += value;
  records += '\n';
}

char type_flag(Entry::Kind kind) {
  switch (kind) {
    case Entry::Kind::directory: return '5';
    case Entry::Kind::symlink: return '2';
    case Entry::Kind::hard_link: return '1';
    case Entry::Kind::file: break;
  }
  return '0';
}

struct Owner {
  std::uint32_t uid = 0, gid = 0;
};

void append_block(std::string& out, char type, SplitName name, std::string_view link, unsigned mode, Owner owner,
                  std::uint64_t size) {
  Header header;
  header.text(0, name.name);
  header.octal(100, 7, mode);
  header.octal(108, 7, owner.uid < id_limit ? owner.uid : 0);
  header.octal(116, 7, owner.gid < id_limit ? owner.gid : 0);
  header.octal(124, 11, size);
  header.octal(136, 11, 1);
  header.text(156, {&type, 1});
  header.text(157, link);
  header.text(257, {"ustar\00000", 8});
  header.octal(329, 7, 0);
  header.octal(337, 7, 0);
  header.text(345, name.prefix);
  out += header.seal();
}

}  // namespace

Entry Entry::directory(std::string name, unsigned mode) {
  return {Kind::directory, std::move(name), mode, {}, 0};
}

Entry Entry::file(std::string name, std::string content, unsigned mode) {
  const std::size_t size = content.size();
  return {Kind::file, std::move(name), mode, std::move(content), size};
}

Entry Entry::symlink(std::string name, std::string target) {
  return {Kind::symlink, std::move(name), 0777, std::move(target), 0};
}

std::string tar_header(const Entry& entry) {
  const bool is_link = entry.kind == Entry::Kind::symlink || entry.kind == Entry::Kind::hard_link;
  const std::string name = entry.kind == Entry::Kind::directory ? entry.name + '/' : entry.name;
  const std::string_view link = is_link ? std::string_view(entry.content) : std::string_view();
  const std::uint64_t size = entry.kind == Entry::Kind::file ? entry.size : 0;
  const std::optional<SplitName> fits = split(name);

  std::string records;
  if ((!fits && !text::is_utf8(name)) || (link.size() > name_max && !text::is_utf8(link)))
    add_pax_record(records, "hdrcharset", "BINARY");
  if (!fits) add_pax_record(records, "path", name);
  if (link.size() > name_max) add_pax_record(records, "linkpath", link);
  if (entry.uid >= id_limit) add_pax_record(records, "uid", fmt::format("{}", entry.uid));
  if (entry.gid >= id_limit) add_pax_record(records, "gid", fmt::format("{}", entry.gid));
  if (size >= size_limit) add_pax_record(records, "size", fmt::format("{}", size));

  std::string out;
  if (!records.empty()) {
    append_block(out, 'x', {"", "././@PaxHeader"}, "", 0644, {}, records.size());
    out += records;
    out += tar_padding(records.size());
  }
  // What does not fit is cut, or 0 for numbers: readers take the pax values.
  append_block(out, type_flag(entry.kind), fits.value_or(SplitName{"", std::string_view(name).substr(0, name_max)}),
               link.substr(0, name_max), entry.mode & 07777, {entry.uid, entry.gid}, size < size_limit ? size : 0);
  return out;
}

std::string_view tar_padding(std::uint64_t size) {
  static constexpr std::array<char, tar_block> zeros{};
  return {zeros.data(), static_cast<std::size_t>((tar_block - size % tar_block) % tar_block)};
}

void append_entry(Sink& sink, const Entry& entry) {
  sink.append(tar_header(entry));
  if (entry.kind != Entry::Kind::file) return;
  sink.append(entry.content);
  sink.append(tar_padding(entry.content.size()));
}

}  // namespace nixery::layer
