#include "text/plain_text.h"

#include <doctest/doctest.h>

#include <string>

using nixery::text::in_quotes;
using nixery::text::plain_json;
using nixery::text::plain_line;
using nixery::text::plain_text;

TEST_CASE("plain text: ordinary text stays as it is") {
  CHECK(plain_text("") == "");
  CHECK(plain_text("two lines\n\tand a tab") == "two lines\n\tand a tab");
  CHECK(plain_text("Grüße, 世界 🙂") == "Grüße, 世界 🙂");
  CHECK(plain_text("brackets [31;1m that no ESC begins") == "brackets [31;1m that no ESC begins");
}

TEST_CASE("plain text: escape sequences are removed as a whole") {
  CHECK(plain_text("\x1b[31;1merror:\x1b[0m why") == "error: why");
  CHECK(plain_text("a\x1b[2J\x1b[1;1Hb\x1b[?25lc") == "abc");
  CHECK(plain_text("\x1b[38:2::255:0:0mred\x1b[ q") == "red");
  CHECK(plain_text("\x1b]0;a title\ax\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\") == "xlink");
  CHECK(plain_text("\x1bPq#0;2\x1b\\x\x1b_apc\x1b\\y\x1b^pm\x1b\\z\x1bXsos\x1b\\") == "xyz");
  CHECK(plain_text("\x1b(Ba\x1b"
                   "7b\x1b"
                   "8c\x1b#8d\x1b"
                   "c") == "abcd");
  CHECK(plain_text("\xc2\x9b"
                   "31mred\xc2\x9d"
                   "0;t\xc2\x9c.\xc2\x85") == "red.");
}

TEST_CASE("plain text: a truncated sequence hides no following text") {
  CHECK(plain_text("x\x1b") == "x");
  CHECK(plain_text("x\x1b[31") == "x");
  CHECK(plain_text("x\x1b[31\nthe reason") == "x\nthe reason");
  CHECK(plain_text("x\x1b]0;open\nthe reason") == "x0;open\nthe reason");
  CHECK(plain_text("\x1b\x1b[1mx") == "x");
  CHECK(plain_text("x\x1b(\ny") == "x\ny");
}

TEST_CASE("plain text: control and bidi characters are removed, invalid UTF-8 is replaced") {
  CHECK(plain_text(std::string_view("a\0b\bc\rd\x7f"
                                    "e\x0e",
                                    10)) == "abcde");
  CHECK(plain_text("a\xe2\x80\xae"
                   "b\xe2\x81\xa6"
                   "c") == "abc");
  CHECK(plain_text("a\xff"
                   "b\xc2") ==
        "a\xef\xbf\xbd"
        "b\xef\xbf\xbd");
  CHECK(plain_text("\xc0\x9b\xed\xa0\x80\xf4\x90\x80\x80") ==
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_CASE("plain text: conversion is idempotent") {
  for (const char* text : {"\x1b[\x1b[31mm", "\x1b\x1b]]0;x\a\a",
                           "\x1b[3\xc2\x9b"
                           "1mx"}) {
    const std::string once = plain_text(text);
    CHECK(plain_text(once) == once);
    CHECK(once.find('\x1b') == once.npos);
  }
}

TEST_CASE("plain line: newlines and tabs become one space") {
  CHECK(plain_line("error:\n\n\twhat\tis it\n") == "error: what is it");
  CHECK(plain_line("a \n b") == "a  b");
}

TEST_CASE("text in quotes is printable ASCII of a limited length") {
  CHECK(in_quotes("a b") == "'a b'");
  CHECK(in_quotes("\x7f\n\xc3\xa9") == "'" + std::string(4, '?') + "'");
  CHECK(in_quotes(std::string(80, 'x')) == "'" + std::string(80, 'x') + "'");
  CHECK(in_quotes(std::string(81, 'x')) == "'" + std::string(80, 'x') + "'…");
}

TEST_CASE("plain JSON escapes what acts on a terminal, and means the same") {
  CHECK(plain_json("{\"a\":\"\xc2\x9b"
                   "1m\x7f\xe2\x80\xae\u00e9\"}") == "{\"a\":\"\\u009b1m\\u007f\\u202e\u00e9\"}");
  CHECK(plain_json("\xff{}\n") == "\xff{}\n");
}
