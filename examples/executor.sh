#!/bin/sh
# An executor in shell: fetch a file, make a result of it, send that to a peer, or
# wait for one and publish it. It needs curl, sed and sha256sum.
#
#   hypha-node job run --id ID -- sh executor.sh work REFERENCE PEER
#   hypha-node job run --id ID -- sh executor.sh collect
set -eu

# call ROUTE BODY [CURL OPTIONS] posts to the bridge; a refusal goes to standard error.
call() {
	route=$1 body=$2
	shift 2
	answer=$(curl -sS --unix-socket "$SOCKET_PATH" "http://bridge$route" -H 'Content-Type: application/json' \
		-w '\n%{http_code}' -d "$body" "$@")
	code=${answer##*
}
	answer=${answer%
*}
	case $code in
	2*) printf '%s\n' "$answer" ;;
	*) printf '%s answers %s: %s\n' "$route" "$code" "$answer" >&2; return 1 ;;
	esac
}

# field NAME prints the first field of that name that is a string.
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/;T;p;q'; }

case $1 in
work)
	file=$(call /resources/fetch "{\"fetch\":\"$2\"}" | field path)
	mkdir -p output
	sha256sum "$file" | cut -d ' ' -f 1 >output/digest.txt
	send="{\"send\":{\"type\":\"peers\",\"peers\":[\"$3\"],\"strategy\":\"All\"},\"path\":\"output/digest.txt\"}"
	tries=0
	until call /resources/send "$send"; do # the peer's job may still be starting
		tries=$((tries + 1))
		[ "$tries" -lt 300 ] || exit 1
		sleep 0.2
	done
	;;
collect)
	file=$(call /resources/receive '{"receive":{"type":"peers","peers":[],"strategy":"All"},"timeout":null}' | field path)
	echo "received $(cat "$file")"
	call /resources/put "{\"path\":\"$file\",\"pin\":true}"
	;;
*)
	echo "usage: executor.sh work REFERENCE PEER | collect" >&2
	exit 2
	;;
esac
