/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of commands by their names: which only read, where the first key stands, which
 * leave something behind on their connection that another one would not have.
 */
#include "protocols/resp/resp.h"

#include <strings.h>

/* By name. Those that are not here have their key behind the command (SET), and bind nothing. */
static const struct resp_command commands[] = {
	{ "ACL", 0, RESP_KEY_NONE },
	{ "ASKING", RESP_BINDS, RESP_KEY_NONE },
	{ "AUTH", RESP_BINDS, RESP_KEY_NONE },
	{ "BGREWRITEAOF", 0, RESP_KEY_NONE },
	{ "BGSAVE", 0, RESP_KEY_NONE },
	{ "BITCOUNT", RESP_READS, RESP_KEY_1 },
	{ "BITFIELD_RO", RESP_READS, RESP_KEY_1 },
	{ "BITOP", 0, RESP_KEY_2 },
	{ "BITPOS", RESP_READS, RESP_KEY_1 },
	{ "BLMPOP", 0, RESP_KEY_COUNTED_2 },
	{ "BZMPOP", 0, RESP_KEY_COUNTED_2 },
	{ "CLIENT", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "CLUSTER", 0, RESP_KEY_NONE },
	{ "COMMAND", 0, RESP_KEY_NONE },
	{ "CONFIG", 0, RESP_KEY_NONE },
	{ "DBSIZE", RESP_READS, RESP_KEY_NONE },
	{ "DEBUG", 0, RESP_KEY_NONE },
	{ "DISCARD", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "DUMP", RESP_READS, RESP_KEY_1 },
	{ "ECHO", RESP_READS, RESP_KEY_NONE },
	{ "EVAL", 0, RESP_KEY_COUNTED_2 },
	{ "EVALSHA", 0, RESP_KEY_COUNTED_2 },
	{ "EVALSHA_RO", RESP_READS, RESP_KEY_COUNTED_2 },
	{ "EVAL_RO", RESP_READS, RESP_KEY_COUNTED_2 },
	{ "EXEC", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "EXISTS", RESP_READS, RESP_KEY_1 },
	{ "EXPIRETIME", RESP_READS, RESP_KEY_1 },
	{ "FAILOVER", 0, RESP_KEY_NONE },
	{ "FCALL", 0, RESP_KEY_COUNTED_2 },
	{ "FCALL_RO", RESP_READS, RESP_KEY_COUNTED_2 },
	{ "FLUSHALL", 0, RESP_KEY_NONE },
	{ "FLUSHDB", 0, RESP_KEY_NONE },
	{ "FUNCTION", 0, RESP_KEY_NONE },
	{ "GEODIST", RESP_READS, RESP_KEY_1 },
	{ "GEOHASH", RESP_READS, RESP_KEY_1 },
	{ "GEOPOS", RESP_READS, RESP_KEY_1 },
	{ "GEORADIUSBYMEMBER_RO", RESP_READS, RESP_KEY_1 },
	{ "GEORADIUS_RO", RESP_READS, RESP_KEY_1 },
	{ "GEOSEARCH", RESP_READS, RESP_KEY_1 },
	{ "GET", RESP_READS, RESP_KEY_1 },
	{ "GETBIT", RESP_READS, RESP_KEY_1 },
	{ "GETRANGE", RESP_READS, RESP_KEY_1 },
	{ "HELLO", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "HEXISTS", RESP_READS, RESP_KEY_1 },
	{ "HEXPIRETIME", RESP_READS, RESP_KEY_1 },
	{ "HGET", RESP_READS, RESP_KEY_1 },
	{ "HGETALL", RESP_READS, RESP_KEY_1 },
	{ "HKEYS", RESP_READS, RESP_KEY_1 },
	{ "HLEN", RESP_READS, RESP_KEY_1 },
	{ "HMGET", RESP_READS, RESP_KEY_1 },
	{ "HPEXPIRETIME", RESP_READS, RESP_KEY_1 },
	{ "HPTTL", RESP_READS, RESP_KEY_1 },
	{ "HRANDFIELD", RESP_READS, RESP_KEY_1 },
	{ "HSCAN", RESP_READS, RESP_KEY_1 },
	{ "HSTRLEN", RESP_READS, RESP_KEY_1 },
	{ "HTTL", RESP_READS, RESP_KEY_1 },
	{ "HVALS", RESP_READS, RESP_KEY_1 },
	{ "INFO", RESP_READS, RESP_KEY_NONE },
	{ "KEYS", RESP_READS, RESP_KEY_NONE },
	{ "LASTSAVE", RESP_READS, RESP_KEY_NONE },
	{ "LATENCY", 0, RESP_KEY_NONE },
	{ "LCS", RESP_READS, RESP_KEY_1 },
	{ "LINDEX", RESP_READS, RESP_KEY_1 },
	{ "LLEN", RESP_READS, RESP_KEY_1 },
	{ "LMPOP", 0, RESP_KEY_COUNTED_1 },
	{ "LOLWUT", RESP_READS, RESP_KEY_NONE },
	{ "LPOS", RESP_READS, RESP_KEY_1 },
	{ "LRANGE", RESP_READS, RESP_KEY_1 },
	{ "MEMORY", 0, RESP_KEY_2 },
	{ "MGET", RESP_READS, RESP_KEY_1 },
	{ "MIGRATE", 0, RESP_KEY_3 },
	{ "MODULE", 0, RESP_KEY_NONE },
	{ "MONITOR", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "MULTI", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "OBJECT", RESP_READS, RESP_KEY_2 },
	{ "PEXPIRETIME", RESP_READS, RESP_KEY_1 },
	{ "PFCOUNT", RESP_READS, RESP_KEY_1 },
	{ "PFDEBUG", 0, RESP_KEY_2 },
	{ "PING", RESP_READS, RESP_KEY_NONE },
	{ "PSUBSCRIBE", RESP_BINDS | RESP_SUBSCRIBES, RESP_KEY_NONE },
	{ "PSYNC", RESP_BINDS, RESP_KEY_NONE },
	{ "PTTL", RESP_READS, RESP_KEY_1 },
	{ "PUBLISH", 0, RESP_KEY_NONE },
	{ "PUBSUB", 0, RESP_KEY_NONE },
	{ "PUNSUBSCRIBE", RESP_BINDS | RESP_SUBSCRIBES, RESP_KEY_NONE },
	{ "QUIT", 0, RESP_KEY_NONE },
	{ "RANDOMKEY", RESP_READS, RESP_KEY_NONE },
	{ "READONLY", RESP_BINDS, RESP_KEY_NONE },
	{ "READWRITE", RESP_BINDS, RESP_KEY_NONE },
	{ "REPLCONF", RESP_BINDS, RESP_KEY_NONE },
	{ "REPLICAOF", 0, RESP_KEY_NONE },
	{ "RESET", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "ROLE", RESP_READS, RESP_KEY_NONE },
	{ "SAVE", 0, RESP_KEY_NONE },
	{ "SCAN", RESP_READS, RESP_KEY_NONE },
	{ "SCARD", RESP_READS, RESP_KEY_1 },
	{ "SCRIPT", 0, RESP_KEY_NONE },
	{ "SDIFF", RESP_READS, RESP_KEY_1 },
	{ "SELECT", RESP_BINDS, RESP_KEY_NONE },
	{ "SHUTDOWN", 0, RESP_KEY_NONE },
	{ "SINTER", RESP_READS, RESP_KEY_1 },
	{ "SINTERCARD", RESP_READS, RESP_KEY_COUNTED_1 },
	{ "SISMEMBER", RESP_READS, RESP_KEY_1 },
	{ "SLAVEOF", 0, RESP_KEY_NONE },
	{ "SLOWLOG", 0, RESP_KEY_NONE },
	{ "SMEMBERS", RESP_READS, RESP_KEY_1 },
	{ "SMISMEMBER", RESP_READS, RESP_KEY_1 },
	{ "SORT_RO", RESP_READS, RESP_KEY_1 },
	{ "SRANDMEMBER", RESP_READS, RESP_KEY_1 },
	{ "SSCAN", RESP_READS, RESP_KEY_1 },
	{ "SSUBSCRIBE", RESP_BINDS | RESP_SUBSCRIBES, RESP_KEY_NONE },
	{ "STRLEN", RESP_READS, RESP_KEY_1 },
	{ "SUBSCRIBE", RESP_BINDS | RESP_SUBSCRIBES, RESP_KEY_NONE },
	{ "SUBSTR", RESP_READS, RESP_KEY_1 },
	{ "SUNION", RESP_READS, RESP_KEY_1 },
	{ "SUNSUBSCRIBE", RESP_BINDS | RESP_SUBSCRIBES, RESP_KEY_NONE },
	{ "SWAPDB", 0, RESP_KEY_NONE },
	{ "SYNC", RESP_BINDS, RESP_KEY_NONE },
	{ "TIME", RESP_READS, RESP_KEY_NONE },
	{ "TTL", RESP_READS, RESP_KEY_1 },
	{ "TYPE", RESP_READS, RESP_KEY_1 },
	{ "UNSUBSCRIBE", RESP_BINDS | RESP_SUBSCRIBES, RESP_KEY_NONE },
	{ "UNWATCH", RESP_FOLLOWED, RESP_KEY_NONE },
	{ "WAIT", 0, RESP_KEY_NONE },
	{ "WAITAOF", 0, RESP_KEY_NONE },
	{ "WATCH", RESP_FOLLOWED, RESP_KEY_1 },
	{ "XGROUP", 0, RESP_KEY_2 },
	{ "XINFO", RESP_READS, RESP_KEY_2 },
	{ "XLEN", RESP_READS, RESP_KEY_1 },
	{ "XPENDING", RESP_READS, RESP_KEY_1 },
	{ "XRANGE", RESP_READS, RESP_KEY_1 },
	{ "XREAD", RESP_READS, RESP_KEY_STREAMS },
	{ "XREADGROUP", 0, RESP_KEY_STREAMS },
	{ "XREVRANGE", RESP_READS, RESP_KEY_1 },
	{ "ZCARD", RESP_READS, RESP_KEY_1 },
	{ "ZCOUNT", RESP_READS, RESP_KEY_1 },
	{ "ZDIFF", RESP_READS, RESP_KEY_COUNTED_1 },
	{ "ZINTER", RESP_READS, RESP_KEY_COUNTED_1 },
	{ "ZINTERCARD", RESP_READS, RESP_KEY_COUNTED_1 },
	{ "ZLEXCOUNT", RESP_READS, RESP_KEY_1 },
	{ "ZMPOP", 0, RESP_KEY_COUNTED_1 },
	{ "ZMSCORE", RESP_READS, RESP_KEY_1 },
	{ "ZRANDMEMBER", RESP_READS, RESP_KEY_1 },
	{ "ZRANGE", RESP_READS, RESP_KEY_1 },
	{ "ZRANGEBYLEX", RESP_READS, RESP_KEY_1 },
	{ "ZRANGEBYSCORE", RESP_READS, RESP_KEY_1 },
	{ "ZRANK", RESP_READS, RESP_KEY_1 },
	{ "ZREVRANGE", RESP_READS, RESP_KEY_1 },
	{ "ZREVRANGEBYLEX", RESP_READS, RESP_KEY_1 },
	{ "ZREVRANGEBYSCORE", RESP_READS, RESP_KEY_1 },
	{ "ZREVRANK", RESP_READS, RESP_KEY_1 },
	{ "ZSCAN", RESP_READS, RESP_KEY_1 },
	{ "ZSCORE", RESP_READS, RESP_KEY_1 },
	{ "ZUNION", RESP_READS, RESP_KEY_COUNTED_1 },
};

const struct resp_command *
resp_command_find(struct slice name)
{
	static const struct resp_command other = { "", 0, RESP_KEY_1 };
	size_t from = 0, to = ARRAY_COUNT(commands);

	while (from < to) {
		size_t middle = (from + to) / 2;
		const char *known = commands[middle].name;
		size_t n = strlen(known);
		int order = strncasecmp(name.at, known, MIN_OF(name.n, n));

		if (order == 0 && name.n == n)
			return &commands[middle];
		if (order > 0 || (order == 0 && name.n > n))
			from = middle + 1;
		else
			to = middle;
	}
	return &other;
}

/* ------------------------------------------------------------------ keys */

/* The word behind the one that says how many keys there are, if there are any. */
static bool
counted_key(struct slice wire, size_t at, struct scratch *scratch, struct slice *key)
{
	return resp_word(wire, at, scratch, key) && !slice_is(*key, "0") &&
	       resp_word(wire, at + 1, scratch, key);
}

static bool
stream_key(struct slice wire, struct scratch *scratch, struct slice *key)
{
	struct resp_words w;

	resp_words_begin(&w, wire);
	while (resp_words_next(&w, scratch, key))
		if (slice_equal_nocase(*key, SLICE("streams")))
			return resp_words_next(&w, scratch, key);
	return false;
}

bool
resp_key(struct slice wire, struct scratch *scratch, struct slice *key)
{
	if (!resp_word(wire, 0, scratch, key))
		return false;
	switch (resp_command_find(*key)->key) {
	case RESP_KEY_1: return resp_word(wire, 1, scratch, key);
	case RESP_KEY_2: return resp_word(wire, 2, scratch, key);
	case RESP_KEY_3: return resp_word(wire, 3, scratch, key);
	case RESP_KEY_COUNTED_1: return counted_key(wire, 1, scratch, key);
	case RESP_KEY_COUNTED_2: return counted_key(wire, 2, scratch, key);
	case RESP_KEY_STREAMS: return stream_key(wire, scratch, key);
	}
	return false;
}

/* ------------------------------------------------------------------ sessions */

struct step {
	unsigned session;
	bool answered;                  /* whatever was said before */
};

static void
follow_client(struct step *to, struct slice what, struct slice how)
{
	bool reply = slice_equal_nocase(what, SLICE("reply"));

	if (reply || slice_equal_nocase(what, SLICE("tracking")) ||
	    slice_equal_nocase(what, SLICE("caching")))
		to->session |= RESP_BOUND;
	if (reply && slice_equal_nocase(how, SLICE("on"))) {
		to->session &= ~(unsigned)RESP_SILENT;
		to->answered = true;
	} else if (reply && slice_equal_nocase(how, SLICE("off"))) {
		to->session |= RESP_SILENT;
	} else if (reply && slice_equal_nocase(how, SLICE("skip"))) {
		to->session |= RESP_SKIP;
	}
}

static void
follow_hello(struct step *to, struct slice version)
{
	if (version.n == 0)
		return;
	to->session |= RESP_BOUND;
	if (slice_is(version, "3"))
		to->session |= RESP_THREE;
	else
		to->session &= ~(unsigned)RESP_THREE;
}

/* `first` and `second` are its arguments, or empty. */
static void
follow(struct step *to, const char *name, struct slice first, struct slice second)
{
	const unsigned open = RESP_MULTI | RESP_WATCH;

	switch (name[0]) {
	case 'C': follow_client(to, first, second); break;
	case 'H': follow_hello(to, first); break;
	case 'M': to->session |= name[1] == 'U' ? RESP_MULTI : RESP_BOUND | RESP_LISTENS; break;
	case 'W': to->session |= RESP_WATCH; break;
	case 'U': to->session &= ~(unsigned)RESP_WATCH; break;
	/* EXEC, DISCARD */
	case 'E': case 'D': to->session &= ~open; break;
	case 'R':
		*to = (struct step){ RESP_QUESTIONS, true };
		break;
	}
}

void
resp_follow(struct resp_state *s, struct scratch *scratch, struct unit *u)
{
	unsigned before = s->session;
	struct step to = { before & ~(unsigned)RESP_SKIP, false };
	struct slice words[3] = { SLICE_EMPTY, SLICE_EMPTY, SLICE_EMPTY };
	struct resp_words w;

	resp_words_begin(&w, u->wire);
	if (!resp_words_next(&w, scratch, &words[0]))
		return;

	const struct resp_command *command = resp_command_find(words[0]);

	if (command->flags & RESP_BINDS)
		to.session |= RESP_BOUND;
	if (command->flags & RESP_SUBSCRIBES)
		to.session |= RESP_LISTENS;
	if (command->flags & RESP_FOLLOWED) {
		if (resp_words_next(&w, scratch, &words[1]))
			(void)!resp_words_next(&w, scratch, &words[2]);
		follow(&to, command->name, words[1], words[2]);
	}
	s->session = (uint8_t)to.session;
	u->mark = (uint8_t)((before | to.session) & (RESP_BOUND | RESP_MULTI | RESP_WATCH));
	u->one_way = (to.session & (RESP_SILENT | RESP_SKIP)) ||
		     ((before & RESP_SKIP) && !to.answered) ||
		     ((command->flags & RESP_SUBSCRIBES) && (to.session & RESP_THREE));
}
