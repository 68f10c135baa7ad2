#include <doctest/doctest.h>

#include "nix/fixed_output.h"
#include "nix/log_line.h"
#include "nix/nix.h"

using namespace nixery;
using nix::LogLine;
using nix::read_log_line;

namespace {

bool is(std::string_view line, LogLine::Kind kind, std::string_view text) {
  const LogLine read = read_log_line(line);
  CHECK(read.text == text);
  return read.kind == kind;
}

}  // namespace

TEST_CASE("nix's own messages are distinguished from any output of a builder") {
  CHECK(is(
      R"(@nix {"action":"msg","column":null,"level":0,"msg":"\u001b[31;1merror:\u001b[0m builder for '\u001b[35;1m/x.drv\u001b[0m' failed","raw_msg":"builder for"})",
      LogLine::Kind::error, "error: builder for '/x.drv' failed"));
  CHECK(is(R"(@nix {"action":"result","fields":["error: x timed out after 5 seconds"],"id":7,"type":101})",
           LogLine::Kind::builder, "error: x timed out after 5 seconds"));
  CHECK(is(R"(@nix {"action":"result","fields":["@nix {\"action\":\"msg\"}"],"id":7,"type":101})",
           LogLine::Kind::builder, R"(@nix {"action":"msg"})"));
  CHECK(is(R"(@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m x timed out"})", LogLine::Kind::relayed,
           "error: x timed out"));
  CHECK(is(R"(@nix {"action":"msg","level":1,"msg":"\u001b[35;1mwarning:\u001b[0m y","raw_msg":"y"})",
           LogLine::Kind::notice, "warning: y"));
  CHECK(is(R"(@nix {"action":"start","id":1,"level":3,"text":"building '/x.drv'","type":105})", LogLine::Kind::notice,
           "building '/x.drv'..."));
  CHECK(is("error: cannot read nix.conf", LogLine::Kind::relayed, "error: cannot read nix.conf"));
}

TEST_CASE("a builder's line identifies its derivation") {
  const LogLine begins = read_log_line(
      R"(@nix {"action":"start","fields":["/nix/store/x.drv","",1,1],"id":9007199254740993,"level":3,"text":"building","type":105})");
  const LogLine line = read_log_line(R"(@nix {"action":"result","fields":["y"],"id":9007199254740993,"type":101})");
  CHECK(begins.derivation == "/nix/store/x.drv");
  CHECK(begins.activity == 9007199254740993u);
  CHECK(line.activity == begins.activity);
  CHECK(line.derivation.empty());
  const LogLine copies = read_log_line(
      R"(@nix {"action":"start","fields":["/nix/store/x.drv"],"id":1,"level":3,"text":"copying","type":100})");
  CHECK(copies.derivation.empty());
}

TEST_CASE("a fetch is recognised by the hash of its output") {
  CHECK(nix::is_fixed_output(R"(Derive([("out","/nix/store/s","sha256","ab12")],[],[],"x","builder",[],[]))"));
  CHECK(nix::is_fixed_output(R"(Derive([("out","/nix/store/s","r:sha256","ab12")],[])"));
  for (const char* text :
       {R"(Derive([("out","/nix/store/s","","")],[("/nix/store/i.drv",["out"])],[],"x")",
        R"(Derive([("out","","r:sha256","")],[],[])", R"(Derive([("dev","/d","",""),("out","/o","","")])",
        R"(Derive([("out","/nix/store/s","sha256",")", R"(DrvWithVersion("xp-dyn-drv",[("out")", ""})
    CHECK_FALSE_MESSAGE(nix::is_fixed_output(text), text);
}

TEST_CASE("transient failures are distinguished from permanent ones") {
  for (const char* line :
       {"curl: (6) Could not resolve host: x.org", "curl: (7) Failed to connect to x port 443: Connection refused",
        "curl: (28) Operation timed out", "ssh: connect to host x port 22: Network is unreachable",
        "curl: (22) The requested URL returned error: 503"})
    CHECK_MESSAGE(nix::tells_of_network(line), line);
  for (const char* line : {"curl: (22) The requested URL returned error: 404", "curl: (60) SSL certificate problem",
                           "error: cannot download x from any mirror", ""})
    CHECK_FALSE_MESSAGE(nix::tells_of_network(line), line);
}

TEST_CASE("progress, torn lines and non-log lines are nobody's messages") {
  for (const char* line :
       {R"(@nix {"action":"start","id":1,"level":6,"text":"querying info","type":0})",
        R"(@nix {"action":"start","id":1,"level":0,"text":"","type":102})", R"(@nix {"action":"stop","id":1})",
        R"(@nix {"action":"result","fields":[0,1,0,0],"id":1,"type":105})",
        R"(@nix {"action":"result","fields":[],"id":1,"type":101})",
        R"(@nix {"action":"msg","level":0,"msg":"error: to)", "@nix [1]", "@nix ", R"(@nix {"action":7})"})
    CHECK_MESSAGE(is(line, LogLine::Kind::nothing, ""), line);
  CHECK(is("", LogLine::Kind::notice, ""));
}

TEST_CASE("an empty error says nothing") {
  const LogLine line = nix::read_log_line(R"(@nix {"action":"msg","column":null,"level":0,"msg":"","raw_msg":""})");
  CHECK(line.kind == LogLine::Kind::nothing);
}

TEST_CASE("a log quoted by an error is not the error, in old and new formats") {
  CHECK(nix::without_quotes("error: builder for '/x.drv' failed with exit code 1;\n       last 2 log lines:\n"
                            "       > a\n       > error: timed out after\n       >\n"
                            "       For full logs, run 'nix log /x.drv'.") ==
        "error: builder for '/x.drv' failed with exit code 1");
  CHECK(nix::without_quotes("error: Cannot build '/x.drv'.\n       Reason: builder failed.\n       Last 1 log lines:\n"
                            "       > a\n       For full logs, run:\n         nix log /nix/store/x.drv\n"
                            "       note: it may pass") ==
        "error: Cannot build '/x.drv'.\n       Reason: builder failed.\n       note: it may pass");
}
