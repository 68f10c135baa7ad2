#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

#include "text/ascii.h"
#include "text/encoding.h"
#include "text/lines.h"
#include "text/number.h"
#include "text/url.h"
#include "text/utf8.h"

using namespace nixery;

namespace {

using Strings = std::vector<std::string>;

std::string every_byte() {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  return bytes;
}

Strings visited(std::string_view text) {
  Strings lines;
  text::for_each_line(text, [&](std::string_view line) { lines.emplace_back(line); });
  return lines;
}

}  // namespace

TEST_CASE("text: character classes and case are those of ASCII only") {
  int letters = 0, digits = 0, controls = 0, printable = 0, changed = 0;
  for (const char c : every_byte()) {
    letters += text::is_letter(c);
    digits += text::is_digit(c);
    controls += text::is_control(c);
    printable += text::is_printable(c);
    changed += text::lower(c) != c;
  }
  CHECK(letters == 52);
  CHECK(digits == 10);
  CHECK(controls == 33);
  CHECK(printable == 95);
  CHECK(changed == 26);
  CHECK(text::lower_case("AZ[`az\xc3\x84") == "az[`az\xc3\x84");
  CHECK(text::upper('z') == 'Z');
  CHECK(text::upper('{') == '{');
  CHECK(text::equal_ignoring_case("Retry-After", "retry-AFTER"));
  CHECK_FALSE(text::equal_ignoring_case("retry", "retry-"));
  CHECK_FALSE(text::equal_ignoring_case("[", "{"));
  CHECK(text::all("", text::is_digit));
  CHECK_FALSE(text::all("12a", text::is_digit));
}

TEST_CASE("text: a number must be the whole text and fit its type") {
  CHECK(text::number<unsigned>("0") == 0u);
  CHECK(text::number<std::uint64_t>("18446744073709551615") == std::numeric_limits<std::uint64_t>::max());
  CHECK(text::number<std::int64_t>("-7") == -7);
  CHECK(text::number<unsigned>("ff", 16) == 255u);
  for (const char* wrong : {"", " 1", "1 ", "+1", "-1", "1x", "0x1", "4294967296"})
    CHECK_FALSE(text::number<std::uint32_t>(wrong));
}

TEST_CASE("text: hex is lower case and of the required size") {
  CHECK(text::hex("") == "");
  CHECK(text::hex(std::string("\0\x09\xaf\xff", 4)) == "0009afff");
  CHECK(text::is_hex("09af", 4));
  CHECK(text::is_hex("", 0));
  CHECK_FALSE(text::is_hex("09af", 5));
  CHECK_FALSE(text::is_hex("09AF", 4));
  CHECK_FALSE(text::is_hex("09ag", 4));
}

TEST_CASE("text: base64 follows RFC 4648 in both directions") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {"\xfb\xff", "+/8="}};
  for (const auto& [bytes, encoded] : vectors) {
    CHECK(text::base64(bytes) == encoded);
    CHECK(text::base64_decode(encoded) == bytes);
  }
  CHECK(text::base64_decode(text::base64(every_byte())) == every_byte());
  for (const char* wrong : {"Zg", "Zg=", "Z===", "====", "=Zg=", "Zg==Zg==", "Zg\n=", "Z-_=", "Zm9v\n", " Zm9"})
    CHECK_FALSE(text::base64_decode(wrong));
}

TEST_CASE("text: percent-encoding keeps the given characters") {
  CHECK(text::percent_encode("aZ09-._~") == "aZ09-._~");
  CHECK(text::percent_encode("a/b c%+\xc3\xa9") == "a%2Fb%20c%25%2B%C3%A9");
  CHECK(text::percent_encode(std::string("\0\r\n", 3), text::is_printable) == "%00%0D%0A");
  CHECK(text::percent_encode("\xe9", text::is_printable, text::lower_hex_digits) == "%e9");
  CHECK(text::percent_decode(text::percent_encode(every_byte())) == every_byte());
}

TEST_CASE("text: percent-decoding refuses malformed escapes, or keeps them") {
  CHECK(text::percent_decode("") == "");
  CHECK(text::percent_decode("%2f%2F+") == "//+");
  CHECK(text::percent_decode("%00") == std::string(1, '\0'));
  CHECK(text::percent_decode("%2541") == "%41");  // once
  CHECK(text::percent_decode("a%c3%A9") == "a\xc3\xa9");
  for (const char* wrong : {"%", "%4", "a%", "a%4", "%zz", "%4z", "%z4", "%%41", "%+1", "%-1", "% 1", "%0x41"}) {
    CAPTURE(wrong);
    CHECK_FALSE(text::percent_decode(wrong));
  }
  CHECK(text::percent_decode_leniently("a%40b%") == "a@b%");
  CHECK(text::percent_decode_leniently("%4") == "%4");
  CHECK(text::percent_decode_leniently("%%41%zz") == "%A%zz");
}

TEST_CASE("text: lines end with a newline, which the last one may lack") {
  CHECK(visited("") == Strings{});
  CHECK(visited("\n") == Strings{""});
  CHECK(visited("a") == Strings{"a"});
  CHECK(visited("a\n\nb") == Strings{"a", "", "b"});
  CHECK(visited("a\nb\n") == Strings{"a", "b"});
  CHECK(visited("a\r\nb") == Strings{"a\r", "b"});
  CHECK(text::lines("a\nb\n") == Strings{"a", "b"});
  CHECK(text::whole_lines("a\nb") == "a\n");
  CHECK(text::whole_lines("a\n") == "a\n");
  CHECK(text::whole_lines("ab") == "");
  CHECK(text::first_line("a\nb") == "a");
  CHECK(text::first_line("\n") == "");
  CHECK(text::first_line("ab") == "ab");
}

TEST_CASE("text: a split text has one more part than separators") {
  using Parts = std::vector<std::string_view>;
  CHECK(text::split("", '/') == Parts{""});
  CHECK(text::split("a", '/') == Parts{"a"});
  CHECK(text::split("/a//b/", '/') == Parts{"", "a", "", "b", ""});
}

TEST_CASE("text: lines of a stream are whole, regardless of how its bytes are split") {
  const std::string text = "one\n\ntwo\r\nrest";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Strings seen;
    text::LineBuffer lines;
    for (const auto part : {std::string_view(text).substr(0, cut), std::string_view(text).substr(cut)})
      lines.add(part, [&](std::string_view line) { seen.emplace_back(line); });
    CHECK(seen == Strings{"one", "", "two\r"});
    CHECK(lines.rest() == "rest");
    CHECK(lines.take_rest() == "rest");
    CHECK(lines.rest().empty());
  }
}

TEST_CASE("text: UTF-8 has the boundaries of RFC 3629") {
  struct Case {
    std::string_view bytes;
    char32_t code;
  };
  for (const Case& each :
       {Case{{"\0", 1}, 0}, Case{"\x7f", 0x7f}, Case{"\xc2\x80", 0x80}, Case{"\xdf\xbf", 0x7ff},
        Case{"\xe0\xa0\x80", 0x800}, Case{"\xed\x9f\xbf", 0xd7ff}, Case{"\xee\x80\x80", 0xe000},
        Case{"\xef\xbf\xbf", 0xffff}, Case{"\xf0\x90\x80\x80", 0x10000}, Case{"\xf4\x8f\xbf\xbf", 0x10ffff}}) {
    CAPTURE(each.code);
    const auto character = text::first_character(std::string(each.bytes) + "x");
    REQUIRE(character);
    CHECK(character->code == each.code);
    CHECK(character->size == each.bytes.size());
    CHECK(text::is_utf8(each.bytes));
    // A truncated character is invalid.
    if (each.bytes.size() > 1) CHECK_FALSE(text::is_utf8(each.bytes.substr(0, each.bytes.size() - 1)));
  }
  CHECK_FALSE(text::first_character(""));
  CHECK(text::is_utf8(""));
  for (const char* wrong : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",  // overlong
                            "\xed\xa0\x80", "\xed\xbf\xbf",                                              // surrogates
                            "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff", "\xc3(", "\xe2\x28\xa1"})
    CHECK_FALSE(text::is_utf8(wrong));
}

TEST_CASE("text: each byte that is not part of a character becomes U+FFFD") {
  CHECK(text::valid_utf8("") == "");
  CHECK(text::valid_utf8("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
  CHECK(text::valid_utf8("a\xff"
                         "b\xc3") ==
        "a\xef\xbf\xbd"
        "b\xef\xbf\xbd");
  CHECK(text::valid_utf8("\xed\xa0\x80") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(text::is_utf8(text::valid_utf8(every_byte())));
}

TEST_CASE("text: a truncated text ends before an incomplete character") {
  const std::string_view text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";  // 1, 2, 3 and 4 bytes
  const std::size_t kept[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
  for (std::size_t most = 0; most < std::size(kept); ++most) CHECK(text::truncated(text, most).size() == kept[most]);
  CHECK(text::truncated(std::string(100, '\x80'), 50).size() >= 47);  // invalid text loses no more than one character
}

TEST_CASE("text: credentials in a URL are not shown") {
  CHECK(text::without_credentials("https://u:p@host/x@y") == "https://host/x@y");
  CHECK(text::without_credentials("https://host/x") == "https://host/x");
  CHECK(text::without_credentials("git@host:x.git") == "git@host:x.git");
  CHECK(text::without_credentials("/some/path") == "/some/path");
}
