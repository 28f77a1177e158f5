"""Language, script and region codes, as facts: ISO 639, ISO 15924 and ISO 3166.

`canonical` in languages.py reads them.
"""

TWO_LETTERS = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak
be:bel bg:bul bi:bis bm:bam bn:ben bo:bod br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre
cs:ces cu:chu cv:chv cy:cym da:dan de:deu dv:div dz:dzo ee:ewe el:ell en:eng eo:epo es:spa
et:est eu:eus fa:fas ff:ful fi:fin fj:fij fo:fao fr:fra fy:fry ga:gle gd:gla gl:glg gn:grn
gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye hz:her ia:ina id:ind
ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl it:ita iu:iku ja:jpn jv:jav ka:kat kg:kon ki:kik
kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat
lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri mk:mkd ml:mal
mn:mon mr:mar ms:msa mt:mlt my:mya na:nau nb:nob nd:nde ne:nep ng:ndo nl:nld nn:nno no:nor
nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan pi:pli pl:pol ps:pus pt:por
qu:que rm:roh rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag sh:hbs si:sin
sk:slk sl:slv sm:smo sn:sna so:som sq:sqi sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam
te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah
ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha
zh:zho zu:zul
"""
"""ISO 639-1: the code of two letters, and that of three letters for the same language."""

THREE_LETTERS = """
aa:abcdefghiklnopqrstuwxz ab:abcdefghijklmnopqrstuvwxyz ac:abdefhiklmnpqrstuvwxyz
ad:abdefghijlnoqrstuwxyz ae:abcdeklmnqrsuwyz af:bdeghiknoprstuz ag:abcdefghijklmnoqrstuvwxyz
ah:abghiklmnoprst ai:abcdefghijklmnopqrtwxy aj:aginsuwz ak:abcdefghijklmopqrstuvwxyz
al:acdefhijklmnopqrstuwxyz am:abcefghijklmnopqrstuvwxyz an:abcdefghijklmnopqrstuvwxyz
ao:abcdefgijklmnrstuxz ap:bcdefghijklmnopqrstuvwxyz aq:cdgkmnprtz ar:abcdeghijklnopqrsuvwxyz
as:abcefghijklmnopqrstuvwxyz at:abcdegijklmnopqrstuvwxyz au:abcdghijklmnopqrtuwxyz
av:abdeiklmnostuv aw:abceghikmnorstuvwxy ax:begklmx ay:abcdeghiklmnopqrstuz az:abdegjmnotz
ba:abcefghjklmnoprsuvwxy bb:abcdefghijklmnopqrstuvwxy bc:abcdefghijklmnopqrstuvwyz
bd:abcdefghijklmnopqrstuvwxyz be:abcdefghijklmnopqstuvwxyz bf:abcdefghijklmnopqrstuwxyz
bg:abcdefgijklnopqrstuvwxyz bh:abcdefghijlmnopqrstuvwxyz bi:abdefgklmnopqrstuvwxyz
bj:abcefghijklmnoprstuvwxyz bk:acdfghijklmnopqrstuvwxyz bl:abcdefhijklmnopqrstvwxyz
bm:abcdefghijklmnopqrstuvwxz bn:abcdefgijklmnopqrsuvwxyz bo:abdefghijklmnopqrstuvwxyz
bp:acdeghijklmnopqrstuvwxyz bq:abcdfghijklmnopqrstuvwxyz br:abcdefghijklmnopqrstuvwxyz
bs:abcefghijklmnopqrstuvwxy bt:acdefghijmnopqrstuvwxyz bu:abcdefghijklmnopqstuvwxyz
bv:abcdefghijklmnopqrtuvwxyz bw:abcdefghijklmnopqrstuwxyz bx:abcdefghijklmnopqrsuvwz
by:abcdefghijklmnopqrstvwxz bz:abcdefghijklmnopqrstuvwxyz ca:abcdefghjklmnopqrstvwxyz
cb:bcdgijklnoqrstuvwy cc:cdeghjlmopr cd:aefhijmnorsyz ce:abgknsty cf:adgm cg:acgk
ch:abcdefghjklmnopqrtuvwxyz ci:abcdehkmnprwy cj:aehikmnopsvy ck:bhlmnoqrstuvxyz
cl:acdehijklmostuwy cm:aegilmnorst cn:abcghiklopqrstuwx co:abcdefghjklmnopqrstuvwxz
cp:abcginosuxy cq:d cr:abcdefghijklmnoqrstvwxyz cs:abcdefghijklmnopqrstvwxyz ct:acdeghlmnopstuyz
cu:abchijklopqrtuvwxy cv:gn cw:abdegt cx:h cy:abmo cz:hknot da:acdeghijklmnoqrsuvwxz
db:abdefgijlmnopqrtuvwy dc:cr dd:adegijnorsw de:cdefghilmnpqrsuvz dg:abcdeghiklnorstwxz
dh:dgilmnorsuvwx di:abcdfghijklmnopqrsuvwxyz dj:abcdefijkmnoruw dk:agkrsx dl:gkmn
dm:abcdefgklmorsuvwxy dn:adegijknortuvwy do:abcefhiklnopqrstvwxyz dp:p dr:bcdegilnoqstuy
ds:behiklnoqz dt:abdhikmnoprstuy du:abcefghiklmnopqrsuvwxyz dv:a dw:akrsuwyz dy:abdgimnoruy
dz:adeglno ea:a eb:cgkoru ec:rsy ee:e ef:aei eg:almoy eh:su ei:ptv ej:a ek:aegiklmopry
el:ehiklmoux em:abegikmnpqsuwxyz en:abcdfghlmnoqruvwx eo:t ep:io er:aghikorstw es:eghiklmnoqstuy
et:bchnorstuxz eu:ds ev:ehn ew:eo ex:t ey:ao ez:ae fa:abdfghijklmnoprstuxyz fb:l fc:s fe:r ff:im
fg:r fi:aefjlnprtw fk:kv fl:ahilnry fm:pu fn:bgi fo:dimnrs fp:e fq:s fr:acdkmopqrsty fs:els
fu:bcdefhijlmnqrtuvy fv:r fw:ae ga:abcdefghijklmnopqrstuwxyz gb:abdefghijklmnopqrsuvwxyz
gc:cdeflnrt gd:abcdefghijklmnoqrstux ge:abcdfghijklqsvwxyz gf:kt gg:abdegkltuw gh:acehklnorst
gi:abcdeghilmnpqrstuwxyz gj:kmnru gk:adenopu gl:abcdeghjkloruvwy gm:abdghlmnruvxyz
gn:abcdeghijklmnoqrtuwz go:abcdefghijklmnopqrstuvwxyz gp:aen gq:ainru gr:abcdghijmnoqrstuvwxyz
gs:eglmnopsw gt:au gu:abcdefghijklmnopqrstuwxz gv:acefjlmnoprsy gw:abcdefgijmnrtuwx gx:x
gy:abdefgilmnoryz gz:ain ha:abcdefghijklmnopqrstuvwxyz hb:abnosu hc:ah hd:nsy he:abdghimr hg:mw
hh:iry hi:abdfghijklnortwx hj:i hk:aehkns hl:abdetu hm:abcdefghijklmnopqrstuvwyz hn:adeghijmnosu
ho:abcdehijlmoprstvwyz hp:os hr:acekmoptuvwxz hs:bhlns ht:iosux hu:bcdefghijklmnopqrstuvwxyz
hv:ceknv hw:aco hy:aew ia:inr ib:abdeghlmnoruy ic:ahlr id:abcdeiorstu if:abefkmuy ig:beglmnosw
ih:bipw ii:in ij:cejns ik:ehikloprstuvwxz il:abegikmopsuv im:ailnorsty in:abdghjlmnopstz io:ruw
ip:iko iq:uw ir:ehiknruxy is:acdeghiklmnortuv it:abdeiklmorstvwxyz iu:m iv:bv iw:kmos ix:cl
iy:aox iz:hmrz ja:abcdefhjklmnoqstuvxyz jb:eijkmnortuw jc:st jd:agt je:behiklnrtu jg:beko jh:is
ji:abcdeghilmoqtuvy jj:er jk:amoprsu jl:es jm:abcdilnrswx jn:adgijls jo:bdgrsw jp:anr jq:r
jr:abrtu js:l ju:abcdhiklmnoprstuwy jv:dn jw:i jy:aey ka:abcdefghijklmnopqstuvwxyz
kb:abcdeghijklmnopqrstuvwxyz kc:abcdefghijklmnopqrstuvwxyz kd:acdefghijklmnpqrtuwxyz
ke:abcdefghijklmnopqrstuvwxyz kf:abcdefghijklmnopqrstuvwxyz kg:abefgijklnopqrstuvwxy
kh:abcdefghjklmnopqrstuvwxyz ki:abcdefghijklmnopqrstuvwxyz kj:abcdeghijklmnopqrstuvxyz
kk:abcdefghijklmnopqrstuvwxyz kl:abcdefghijklmnopqrstuvwxyz km:abcdefghijklmnopqrstuvwxyz
kn:abcdefgijklmnopqrstuvwxyz ko:acdefghiklmnopqrstuvwyz kp:abcdefghijklmnoqrstuvwxyz
kq:abcdefghijklmnopqrstuvwxyz kr:abcdefhijklnprstuvwxyz ks:bcdefghijklmnopqrstuvwxyz
kt:abcdefghijklmnopqstuvwxyz ku:abcdefghijklmnopqrstuvwxyz kv:abcdefghijklmnopqrtuvwxyz
kw:abcdefghijklmnoprstuvwxyz kx:abcdfhijkmnopqrstvwxyz ky:abcdefghijklmnopqrstuvwxyz
kz:abcdefgiklmnopqrsuvwxyz la:abcdefghijlmnopqrstuvwxyz lb:bcefgijklmnoqrstuvwxyz lc:cdefhlmpqs
ld:abdghijklmnopq le:abcdefhijklmnopqrstuvwxyz lf:an lg:abghiklmnoqrstuz lh:ahilmnpstu
li:abcdefghjklmnopqrstuvwxyz lj:aeilpwx lk:abcdehijlmnorstuy ll:abcdefghijklmnpqsux
lm:abcdefghijklnopqruvwxy ln:abdghijlmnsuwz lo:abcefghijklmnopqrstuvwxyz lp:aenox lq:r
lr:acegiklmnortvz ls:abcdehilmnoprstvwy lt:cghinosuz lu:abcdefghijklmnopqrstuvwyz lv:aiklsu
lw:aeghlmostuw lx:m ly:agn lz:hlnz ma:abdefghijklmnqrstuvwxz mb:abcdefhijklmnopqrstuvwxyz
mc:abcdefghijklmnopqrstuvwxyz md:abcdefghijklmnpqrstuvwxyz me:abcdefhijklmnopqrstuvwyz
mf:abcdefghijklmnopqrstuvwxyz mg:abcdefghijklmnopqrstuvwyz mh:abcdefgijklmnopqrstuwxyz
mi:abcdefghijklmnopqrtuwxyz mj:bcdeghijklmnopqrstuvwxyz mk:abcdefgijklmnopqrstuvwxyz
ml:abcefghijklmnopqrstuvwxz mm:abcdefghijklmnopqrtuvwxyz mn:abcdefghijklmnpqrsuvwxyz
mo:acdeghijkmnopqrstuvwxyz mp:abcdeghijklmnopqrstuvwxyz mq:abcefghijklmnopqrstuvwxyz
mr:abcdefghijklmnopqrstuvwxyz ms:abcdefghijklmnopqrsuvwxyz mt:abcdefghijklmnopqrstuvwxy
mu:abcdeghijkmopqrstuvxyz mv:abdefghiklnopqrstuvwxyz mw:abcefghiklmnopqrstuvwz
mx:abcdefghijklmnopqrstuvwxyz my:abcefghjklmoprsuvwxyz mz:abcdeghijklmnopqrstuvwxyz
na:abcefgjklmnopqrstuvwxyz nb:abcdeghijklmnopqrstuvwy nc:abcdefghijklmnoqrstuxz
nd:abcdefghijklmnopqrstuvwxyz ne:abcdefghijkmnopqrstuvwxyz nf:adlru ng:abcdeghijklmnpqrstuvwxyz
nh:abcdefghikmnopqrtuvwxyz ni:abdefghijklmnoqrstuvwxyz nj:abdhijlmnorstuxyz
nk:abcdefghijkmnopqrstuvwxz nl:acdegijklmoquvwxyz nm:abcdefghijklmnopqrstuvwxyz
nn:abcdefghijklmnopqrtuvwyz no:abcdefghijklnpqrstuvwyz np:abghilnosuxy nq:gklmnoqty
nr:abcefgiklmnprtuxz ns:abcdefghiklmnopqrstuvwxyz nt:dgijkmopruwxyz nu:acdefghijklmnopqrstuvwxyz
nv:hmo nw:abcegimorwxy nx:adegiklmnoqrx ny:abcdefghijklmnopqrstuvwxy nz:abdikmrsuyz oa:ackrv
ob:iklmortu oc:ahimou od:aktu of:osu og:bcegou oh:tu oi:aen oj:bcgipsvw ok:abcdeghijklmnorsuvxz
ol:adekmortu om:abcgiklnoprtuwxy on:abegijknoprstuwx oo:dgnrs op:akmoty or:aceghimnorstuvwxyz
os:acinopstux ot:abdeiklmnqrstuwxyz ou:abeim ov:d ow:il oy:bdmy oz:m pa:bcdefghiklmnopqrsuvwxyz
pb:bcefghilmnoprstuvy pc:abcdefghijklmnpw pd:acinotu pe:abdefghijklmopqsvxyz pf:ael
pg:adgiklnsuz ph:adghjklmnoqrtuvw pi:abcdefghjlmnoprstuvwxyz pj:t pk:abcghnoprstu
pl:abcdeghiklnoqrstuvwyz pm:abdefhijlmnoqrstwxyz pn:abcdeghijklmnopqrstuvwxyz
po:cefghiklmnopqrstvwxy pp:eiklmnopqstu pq:am pr:cdefghiklmnoqrstuwxz ps:acdeghilmnopqrstuwy
pt:ahinopqrtuvwy pu:abcdefgijmopqrstuwxy pw:abgimnorw px:m py:emnsuxy pz:ehn
qu:abcdefghiklmnpqrsvwxyz qv:acehijlmnopswyz qw:achmst qx:achlnopqrstuw qy:ap
ra:abcdfghijklmnopqrstuvwxyz rb:bklp rc:f rd:b re:abegijlmnrsty rg:aeknrsu rh:gp ri:abflmnrtu
rj:gis rk:abhimtw rm:abcdefghiklmnopqstuvwxyz rn:bdglnprw ro:bcdefghlmnopruw rp:nt rr:imot
rs:bklmnw rt:chmsw ru:bcefghiknopqstuyz rw:aklmor rx:dw ry:nsu rz:h sa:abcdefghjkmnoqrstuvwxyz
sb:abcdefghijklmnopqrstuvwxyz sc:befghiklnopqstuvwx sd:abcefghjklnopqrstuxz
se:abcdefghijklnopqrstuvwyz sf:bemsw sg:abcdeghijkmprstuwxyz sh:abcdeghijklmnopqrstuvwxyz
si:abdefghijklmnpqrsuvwxyz sj:abcdegklmnoprstuw sk:abcdefghijmnopqrstuvwxyz
sl:cdefghijklmnprstuvwxyz sm:abcefghjklmnopqrstuvwxyz sn:acdefgijklmnopqrsuvwxyz
so:abcdeghijklmopqrstuvwxyz sp:abcdegiklmnopqrstuvxy sq:ahikmnoqrstux
sr:abcdefghiklmnopqrstuvwxyz ss:bcdefghijklmnopqrstuvwxyz st:abdefghijklmnopqrstuvwy
su:abcegijknoqrstvwxyz sv:abcekmsx sw:abcefghijklmnopqrstuvwxy sx:bcegklmnorsuw
sy:abciklmnorswxy sz:abceglnpsvwy ta:abcdefghjklmnopqrstuvwxyz tb:acdefghijklmnoprstuvwxyz
tc:abcdefghiklmnopqstuwxyz td:abcdefghijklmnoqrstvxy te:abcdefghiklmnopqrstuvwxyz tf:inort
tg:abcdefhijklnopqrstuvwxyz th:adefhiklmnpqrstuvyz ti:acfghijklmnopqrstuvwxyz tj:agijlmnopsuw
tk:abdefglmnpqrstuvwxz tl:abcdfghijklmnopqrstuvxy tm:abcdefghijlmnoqrstuvwyz
tn:abcdghiklmnopqrstuvwxyz to:bcdfghijklmnopqrsuvwxyz tp:acefgijklmnopqrtuvxyz tq:blmnopqrtuw
tr:abcdefghijlmnopqrstuvwxyz ts:abcdeghijklmnopqrstuvwxyz tt:abcdefghijklmnopqrstuvwyz
tu:abcdefghijklmnoqrsuvxyz tv:adeiklmnostuwxy tw:abcdefghilmnopqrtuwxy tx:abceghijmnoqrstuxy
ty:aehijlnprstuvxyz tz:ahjlmnox ua:mnr ub:ailruy ud:aegijlmu ue:s uf:i ug:abehnoy uh:an ui:gsv
uj:i uk:aghiklpqrsuvwy ul:abcefiklmnuwy um:abcdgimnoprsu un:aegikmnruxz uo:n up:iv
ur:abcdefghiklmnoprtuvwxyz us:ahikpsu ut:aehpru uu:mru uv:ehl uw:a uy:a uz:bns
va:aefghijlmnoprsuvy vb:bk ve:cdlmnopr vg:rt vi:cdefglnstv vj:k vk:ajklmnoptuz vl:ps
vm:abcdefghijklmpqrsuvwxyz vn:kmp vo:lrt vr:aost vs:ilnv vt:o vu:mnt vw:a
wa:abcdefghijlmnopqrstuvwxyz wb:abefhijklmpqrstvw wc:ai wd:dgjktuy we:acdghimoprstuw wf:g
wg:abgiouy wh:agku wi:bcefghijklmnruvy wj:ai wk:abdlruwy wl:aceghiklmnorsuvwxy
wm:abcdeghimnostwx wn:bcdegikmnopuwy wo:abcdefgiklmnorswy wp:c wr:bghiklmnoprsuvwxyz ws:agikrsuv
wt:bfhikmw wu:abdhlmnrtuvxy ww:aborw wx:aw wy:bimnry xa:abcdegijklmnopqrstuvwy xb:bcdegijmnoprwy
xc:bceghlmnortuvwy xd:ackmoqy xe:bdglmprstu xf:a xg:abdfgilmruw xh:acdemortuv xi:bilnrsvy xj:bt
xk:abcdefgijklnopqrstuvwxyz xl:abcdeginopsuy xm:abcdefghjklmnopqrstuvwxyz xn:abghijkmnoqrstuyz
xo:cdgikmnoprw xp:abcdefghijklmnopqrstuvwxyz xq:at xr:abdegimnrtuw xs:abcdehijlmnopqruvy
xt:abcdeghijlmnopqrstuvwy xu:abdgjlmnoprtu xv:einos xw:acdegjklortw xx:bkmrt xy:abjklty xz:hmp
ya:abcdefghijklmnopqrstuvwxyz yb:abehijklmnoxy yc:hlnpr yd:adegk ye:aceijlrstuvy yg:ailmprsuw
yh:adls yi:adfghijklmnpqrstuvxz yk:aghiklmnortuy yl:abegilmnoruy ym:bcdeghiklmnopqrsxz
yn:abdegklnoqsu yo:bgiklmnrtxy yp:abghmnopz yr:abeklmnoswy ys:cdglmnoprsy yt:alpwy
yu:abcdefgijklmnpqrtwxyz yv:at yw:aglnqrtuw yx:aglmuy yy:ruz yz:gk za:abcdefghijklmopqrstuvwxyz
zb:aceltuw zc:adh zd:j ze:aghmn zg:abhmnr zh:abdinow zi:abklmnwz zk:adghknoprtuvz zl:ajmnqu
zm:abcdefghijklmnopqrstuvwxyz zn:aegks zo:chmoqrs zp:abcdefghijklmnopqrstuvwxyz zq:e zr:agnops
zs:aklmru zt:eglmnpqstuxy zu:hlmny zw:a zy:bgjnp zz:aj
"""
"""ISO 639-3: two letters, and every letter that makes them a code."""

SCRIPTS = """
Adlm Afak Aghb Ahom Arab Aran Armi Armn Avst Bali Bamu Bass Batk Beng Berf Bhks Blis Bopo Brah
Brai Bugi Buhd Cakm Cans Cari Cham Cher Chis Chrs Cirt Copt Cpmn Cprt Cyrl Cyrs Deva Diak Dogr
Dsrt Dupl Egyd Egyh Egyp Elba Elym Ethi Gara Geok Geor Glag Gong Gonm Goth Gran Grek Gujr Gukh
Guru Hanb Hang Hani Hano Hans Hant Hatr Hebr Hira Hluw Hmng Hmnp Hntl Hrkt Hung Inds Ital Jamo
Java Jpan Jurc Kali Kana Kawi Khar Khmr Khoj Kitl Kits Knda Kore Kpel Krai Kthi Lana Laoo Latf
Latg Latn Leke Lepc Limb Lina Linb Lisu Loma Lyci Lydi Mahj Maka Mand Mani Marc Maya Medf Mend
Merc Mero Mlym Modi Mong Moon Mroo Mtei Mult Mymr Nagm Nand Narb Nbat Newa Nkdb Nkgb Nkoo Nshu
Ogam Olck Onao Orkh Orya Osge Osma Ougr Palm Pauc Pcun Pelm Perm Phag Phli Phlp Phlv Phnx Piqd
Plrd Prti Psin Ranj Rjng Rohg Roro Runr Samr Sara Sarb Saur Seal Sgnw Shaw Shrd Shui Sidd Sidt
Sind Sinh Sogd Sogo Sora Soyo Sund Sunu Sylo Syrc Syre Syrj Syrn Tagb Takr Tale Talu Taml Tang
Tavt Tayo Telu Teng Tfng Tglg Thaa Thai Tibt Tirh Tnsa Todr Tols Toto Tutg Ugar Vaii Visp Vith
Wara Wcho Wole Xpeo Xsux Yezi Yiii
"""
"""ISO 15924."""

REGIONS = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
"""ISO 3166-1."""

OTHER_CODES = """
alb:sq arm:hy baq:eu bur:my chi:zh cze:cs dut:nl fre:fr geo:ka ger:de gre:el ice:is mac:mk
mao:mi may:ms per:fa rum:ro slo:sk tib:bo wel:cy
cmn:zh arb:ar pes:fa swh:sw ekk:et lvs:lv zsm:ms khk:mn npi:ne ory:or plt:mg uzn:uz azj:az
als:sq gaz:om ydd:yi pbt:ps quy:qu ayr:ay kmr:ku knc:kr fuv:ff fil:tl
iw:he ji:yi jw:jv mo:ro mol:ro scc:sr scr:hr ajp:ajp
"""
"""ISO 639-2/B; the usual member of a macrolanguage, which its code stands for; withdrawn codes."""

USUAL_SCRIPTS = """
ab:Cyrl av:Cyrl ba:Cyrl be:Cyrl bg:Cyrl ce:Cyrl cv:Cyrl kk:Cyrl kv:Cyrl ky:Cyrl mk:Cyrl mn:Cyrl
os:Cyrl ru:Cyrl sah:Cyrl sr:Cyrl tg:Cyrl tt:Cyrl tyv:Cyrl uk:Cyrl acm:Arab acq:Arab aeb:Arab
ajp:Arab apc:Arab ar:Arab ars:Arab ary:Arab arz:Arab ckb:Arab fa:Arab ps:Arab sd:Arab ug:Arab
ur:Arab awa:Deva bho:Deva brx:Deva doi:Deva hi:Deva kok:Deva mag:Deva mai:Deva mr:Deva ne:Deva
sa:Deva as:Beng bn:Beng mni:Beng he:Hebr yi:Hebr am:Ethi ti:Ethi bo:Tibt dz:Tibt el:Grek hy:Armn
ka:Geor th:Thai lo:Laoo km:Khmr my:Mymr shn:Mymr si:Sinh ta:Taml te:Telu kn:Knda ml:Mlym gu:Gujr
pa:Guru sat:Olck or:Orya zh:Hans yue:Hant ja:Jpan ko:Kore dv:Thaa
"""
"""The script of languages that are not usually written in Latin letters."""

ENGLISH_NAMES = """
arabic:ar chinese:zh dutch:nl english:en french:fr german:de hindi:hi indonesian:id italian:it
japanese:ja portuguese:pt russian:ru spanish:es vietnamese:vi
"""
"""Languages by their names in English."""
